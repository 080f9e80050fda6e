// The live page: the parts, and how they hang together.

import { Api } from "./api.js";
import { Chart } from "./chart.js";
import { Counts } from "./counts.js";
import { MILLISECONDS_FROM, summary, timeOf } from "./event.js";
import { Feed } from "./feed.js";
import { follow, isAboutCondition } from "./stream.js";
import { visible } from "./text.js";
import { asker } from "./token.js";
import { View } from "./view.js";

const AT_FIRST = 7;

const $ = (id) => document.getElementById(id);
const api = new Api(asker($("token")));
const chart = new Chart($("chart"), $("told"));
const feed = new Feed($("feed"), $("entry"), () => api.now(), showFeed);
const number = new Intl.NumberFormat();

let counts = null;
let session = null;
let conditions = [];

/** Begin anew: with the last events, the numbers, and the stream. */
function begin() {
  session?.abort();
  session = new AbortController();
  const { signal } = session;
  say("waiting", "Connecting …");
  $("again").hidden = true;
  $("filter-error").textContent = "";
  feed.clear();
  const part = { fresh: null };
  const on = {
    opened(isNew) {
      say("live", "Live");
      if (isNew) part.fresh = fresh(signal);
    },
    changes(changes) {
      counts?.add(changes.map((change) => change.doc));
      part.fresh.add(changes.map((change) => summary(change.id, change.doc)));
    },
    lost(pause, reason) {
      say("lost", `Lost: ${visible(reason, 120)}. Trying again …`);
    },
  };
  follow(api, conditions, signal, on).catch((error) => signal.aborted || stop(error));
}

/** Go no further: the user has to do something first. */
function stop(error) {
  session.abort();
  counts = null;
  if (isAboutCondition(error)) {
    $("filter-error").textContent = visible(error.message, 200);
    $("where").setAttribute("aria-invalid", "true");
    say("stopped", "Not connected: the filter is not understood");
    return;
  }
  $("again").hidden = false;
  const reason = visible(error.message, 120);
  say("stopped", isAboutToken(error) ? "This server wants a read token" : `Not connected: ${reason}`);
}

function isAboutToken(error) {
  return error.name === "NoToken";
}

/**
 * Show the last events, then what the stream tells. The stream is open already, so nothing is
 * missed in between; what it tells of the events that are shown is left out.
 */
function fresh(signal) {
  counts = new Counts(api, conditions, signal);
  const own = counts;
  let held = [];
  let shown = new Set();
  feed.clear();
  const take = (summaries) => feed.add(summaries.filter((each) => !shown.has(each.id)));
  const load = async () => {
    const ranges = [{ start: MILLISECONDS_FROM }, { end: MILLISECONDS_FROM - 1e-3 }];
    const found = await Promise.all(
      ranges.map((range) => api.newest(conditions, AT_FIRST, range, signal)),
    );
    // Both units, merged by time; the sort leaves equals in their order.
    const rows = found.flat().sort((a, b) => timeOf(b.key) - timeOf(a.key)).slice(0, AT_FIRST);
    if (own !== counts) return;
    shown = new Set(rows.map((row) => row.id));
    feed.add(rows.reverse().map((row) => summary(row.id, row.value)));
  };
  load()
    .catch((error) => {
      if (signal.aborted) return;
      if (isAboutToken(error)) stop(error);
      else say("live", `Live, but without earlier events: ${visible(error.message, 120)}`);
    })
    .finally(() => {
      if (own !== counts) return;
      take(held);
      held = null;
      tick();
    });
  return { add: (summaries) => (held ? held.push(...summaries) : take(summaries)) };
}

function say(state, text) {
  $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
}

function showFeed() {
  $("pause").setAttribute("aria-pressed", String(feed.paused));
  $("missed").textContent = feed.missed ? `${number.format(feed.missed)} new` : "";
  $("empty").hidden = !feed.isEmpty;
  showTotal();
}

function showTotal() {
  const total = counts?.total ?? null;
  put($("total"), total === null ? "–" : number.format(total));
  put($("minute"), total === null ? "–" : number.format(counts.lastMinute));
  put($("hour"), total === null ? "–" : number.format(counts.lastHour));
}

function put(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function showNumbers() {
  showTotal();
  if (counts && counts.total !== null) chart.draw(counts.minutes);
}

function tick() {
  const own = counts;
  // What fails now is asked again later; the stream says whether the server is there.
  own
    ?.tick()
    .catch((error) => own === counts && isAboutToken(error) && stop(error))
    .finally(() => own === counts && requestAnimationFrame(showNumbers));
}

$("pause").addEventListener("click", () => {
  feed.paused = !feed.paused;
});
$("again").addEventListener("click", begin);
$("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const texts = $("where").value.split(" & ").map((text) => text.trim());
  conditions = texts.filter(Boolean).map((text) => ["where", text]);
  $("where").removeAttribute("aria-invalid");
  $("scope").hidden = !conditions.length;
  begin();
});
$("where").addEventListener("input", () => {
  if ($("where").value === "" && conditions.length) $("filter").requestSubmit();
});
for (const code of document.querySelectorAll("pre.try")) {
  code.textContent = code.textContent.replaceAll("http://127.0.0.1:3000", location.origin);
}
setInterval(tick, 1000);
new View(api, $("view"));
begin();
