// What the page says about an event, of which nothing may be assumed but that it is an object.

// A timestamp below this is in seconds (it would be the year 5138), from it on in milliseconds
// (as such, it is March 1973).
export const MILLISECONDS_FROM = 1e11;

/** The time of an event in milliseconds since 1970, whichever of the two units it is in. */
export function timeOf(timestamp) {
  return Math.abs(timestamp) < MILLISECONDS_FROM ? timestamp * 1000 : timestamp;
}

/** What the list shows of an event; absent texts are empty. */
export function summary(id, event) {
  const agent = isObject(event.user_agent) ? event.user_agent : {};
  return {
    id,
    time: timeOf(event.timestamp),
    system: word(agent.os),
    browser: [word(agent.browser), word(agent.version)].filter(Boolean).join(" "),
    type: word(event.type),
    took: duration(lastOffset(event.event_stream)),
  };
}

function isObject(value) {
  return typeof value === "object" && value !== null;
}

function word(value) {
  // A number that is none to JavaScript is not shown as another one.
  return typeof value === "string" || Number.isFinite(value) ? String(value) : "";
}

function lastOffset(steps) {
  const last = Array.isArray(steps) ? steps.at(-1) : undefined;
  return Array.isArray(last) ? last[1] : undefined;
}

/** Milliseconds as people say them. */
export function duration(milliseconds) {
  if (typeof milliseconds !== "number" || !Number.isFinite(milliseconds)) return "";
  const size = Math.abs(milliseconds);
  if (size >= 1e12) return `${milliseconds.toExponential(0)} ms`;
  if (size < 10) return `${Number(milliseconds.toFixed(1))} ms`;
  if (size < 999.5) return `${Math.round(milliseconds)} ms`;
  if (size < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (size < 3_599_500) return `${Math.trunc(seconds / 60)} min ${Math.abs(seconds % 60)} s`;
  const maximumFractionDigits = size < 1e9 ? 1 : 0;
  return `${(milliseconds / 3_600_000).toLocaleString(undefined, { maximumFractionDigits })} h`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const FULL = new Intl.DateTimeFormat(undefined, {
  dateStyle: "full",
  timeStyle: "long",
  hourCycle: "h23",
});
const BEFORE_CHRIST = new Intl.DateTimeFormat(undefined, {
  era: "short",
  year: "numeric",
  month: "short",
  day: "numeric",
});
const DAY_MS = 86_400_000;

/** A time for the list, split in the day (empty for today) and the time of day. */
export function moment(time, now) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return { day: "", clock: "beyond dates", full: "", iso: "" };
  const near = Math.abs(time - now) < DAY_MS && date.getDate() === new Date(now).getDate();
  const [day, full] = date.getFullYear() > 0 ? [DAY, FULL] : [BEFORE_CHRIST, BEFORE_CHRIST];
  return {
    day: near ? "" : day.format(date),
    clock: CLOCK.format(date),
    full: full.format(date),
    iso: date.toISOString(),
  };
}
