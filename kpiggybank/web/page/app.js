// The live page: the parts, and how they hang together.

import { Api } from "./api.js";
import { Chart } from "./chart.js";
import { Counts } from "./counts.js";
import { MILLISECONDS_FROM, summary, timeOf } from "./event.js";
import { fitExamples, showTokens } from "./examples.js";
import { Feed } from "./feed.js";
import { conditionsIn, conditionsInAddress, keepInAddress, textIn } from "./filter.js";
import { follow, isAboutCondition } from "./stream.js";
import { visible } from "./text.js";
import { asker, isAboutToken } from "./token.js";
import { View } from "./view.js";

const AT_FIRST = 7;
const WANTS_TOKEN = "This server wants a read token";

const $ = (id) => document.getElementById(id);
const ask = asker($("token"));
const api = new Api(askForToken);
const chart = new Chart($("chart"), $("told"));
const feed = new Feed($("feed"), $("entry"), () => api.now(), showFeed);
const number = new Intl.NumberFormat();

let state = ["waiting", "Connecting …"];
let isAsking = false;
// What is followed and shown, and what shall be as soon as the server has understood its filter.
let current = null;
let next = null;
let wanted = conditionsInAddress();

/** Follow what meets these conditions; until the server agrees, all that is shown stays. */
function begin(conditions) {
  wanted = conditions;
  next?.stop.abort();
  const own = { conditions, stop: new AbortController(), counts: null, isComplete: false, take: null };
  next = own;
  if (!current) say("waiting", "Connecting …");
  $("again").hidden = true;
  complain("");
  const on = {
    opened(isNew) {
      if (own === next) adopt(own);
      say("live", "Live");
      if (isNew) fresh(own);
    },
    changes(changes) {
      own.counts.add(changes.map((change) => change.doc));
      own.take(changes.map((change) => summary(change.id, change.doc)));
    },
    lost(pause, reason) {
      if (own === current || !current) say("lost", `Lost: ${visible(reason, 120)}. Trying again …`);
    },
  };
  const { signal } = own.stop;
  follow(api, conditions, signal, on).catch((error) => signal.aborted || failed(own, error));
}

function adopt(own) {
  current?.stop.abort();
  current = own;
  next = null;
  $("scope").hidden = !own.conditions.length;
  $("scope").textContent = `Only events that meet ${visible(textIn(own.conditions), 200)}`;
  keepInAddress(own.conditions);
}

/** Go no further with this: the user has to do something first. */
function failed(own, error) {
  const isAboutFilter = isAboutCondition(error);
  if (own === next && (isAboutFilter || (current && !isAboutToken(error)))) {
    next = null;
    complain(error.message);
    if (!current) say("stopped", "Not connected: the filter is not understood");
    return;
  }
  current?.stop.abort();
  next?.stop.abort();
  current = next = null;
  $("again").hidden = false;
  if (isAboutToken(error)) $("again").focus();
  say("stopped", isAboutToken(error) ? WANTS_TOKEN : `Not connected: ${visible(error.message, 120)}`);
  showNumbers();
}

function complain(reason) {
  $("filter-error").textContent = visible(reason, 200);
  if (reason) $("where").setAttribute("aria-invalid", "true");
  else $("where").removeAttribute("aria-invalid");
}

/**
 * Show the last events, then what the stream tells. The stream is open already, so nothing is
 * missed in between; what it tells of the events that are shown is left out.
 */
function fresh(own) {
  const { signal } = own.stop;
  const counts = new Counts(api, own.conditions, signal);
  const held = [];
  let shown = new Set();
  own.counts = counts;
  own.isComplete = false;
  own.take = (summaries) => held.push(...summaries);
  feed.clear();
  showNumbers();
  const load = async () => {
    const ranges = [{ start: MILLISECONDS_FROM }, { end: MILLISECONDS_FROM - 1e-3 }];
    const found = await Promise.all(
      ranges.map((range) => api.newest(own.conditions, AT_FIRST, range, signal)),
    );
    // Both units, merged by time; the sort leaves equals in their order.
    const rows = found.flat().sort((a, b) => timeOf(b.key) - timeOf(a.key)).slice(0, AT_FIRST);
    if (own.counts !== counts || signal.aborted) return;
    own.isComplete = true;
    shown = new Set(rows.map((row) => row.id));
    feed.show(rows.reverse().map((row) => summary(row.id, row.value)));
  };
  load()
    .catch((error) => {
      if (signal.aborted) return;
      if (isAboutToken(error)) failed(own, error);
      else say("live", `Live, but without earlier events: ${visible(error.message, 120)}`);
    })
    .finally(() => {
      if (own.counts !== counts || signal.aborted) return;
      own.take = (summaries) => feed.add(summaries.filter((each) => !shown.has(each.id)));
      own.take(held);
      tick();
    });
}

/** While the token is asked for, that is what there is to say. */
async function askForToken(wasRefused) {
  showTokens();
  isAsking = true;
  showState();
  try {
    return await ask(wasRefused);
  } finally {
    isAsking = false;
    showState();
  }
}

function say(...now) {
  state = now;
  showState();
}

function showState() {
  const [kind, text] = isAsking ? ["waiting", WANTS_TOKEN] : state;
  $("state").dataset.state = kind;
  put($("state"), text);
  showEmpty();
}

function showFeed() {
  $("pause").setAttribute("aria-pressed", String(feed.paused));
  $("missed").textContent = feed.missed ? `${number.format(feed.missed)} new` : "";
  showEmpty();
  showTotals();
}

/** Say that there is nothing, if it is known. */
function showEmpty() {
  const isKnown = current?.isComplete && $("state").dataset.state === "live";
  $("empty").hidden = !isKnown || !feed.isEmpty || feed.missed > 0;
  put(
    $("empty"),
    current?.conditions.length
      ? "No event meets the filter yet."
      : "No events yet. The next one appears here.",
  );
}

function showTotals() {
  const counts = current?.counts;
  const totals = { total: counts?.total, minute: counts?.lastMinute, hour: counts?.lastHour };
  for (const [id, total] of Object.entries(totals))
    put($(id), Number.isInteger(total) ? number.format(total) : "–");
}

function put(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function showNumbers() {
  showTotals();
  chart.draw(current?.counts?.minutes ?? []);
}

function tick() {
  const own = current;
  const counts = own?.counts;
  // What fails now is asked again later; the stream says whether the server is there.
  counts
    ?.tick()
    .catch((error) => own === current && isAboutToken(error) && failed(own, error))
    .finally(() => counts === current?.counts && requestAnimationFrame(showNumbers));
}

$("pause").addEventListener("click", () => {
  feed.paused = !feed.paused;
});
$("again").addEventListener("click", () => begin(wanted));
$("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(conditionsIn($("where").value));
});
$("where").addEventListener("input", () => {
  if ($("where").value === "" && wanted.length) $("filter").requestSubmit();
});
// Back, and forward: the address may have another filter.
addEventListener("popstate", () => {
  const conditions = conditionsInAddress();
  if (textIn(conditions) === textIn(wanted)) return;
  $("where").value = textIn(conditions);
  begin(conditions);
});
$("where").value = textIn(wanted);
fitExamples();
if (api.hasToken) showTokens();
setInterval(tick, 1000);
new View(api, $("view"));
begin(wanted);
