// The stream of changes, which comes back by itself and goes on where it was.

import { Refused } from "./api.js";
import { isAboutToken } from "./token.js";

const HEARTBEAT_SECONDS = 10;
const SILENCE_MS = 2.5 * HEARTBEAT_SECONDS * 1000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 8000;

/**
 * Follow all changes from now on, until `signal` says that it is enough.
 *
 * `on` is told: `opened(isNew)`, at a place where nothing was told before or where the last
 * stream broke off; `changes(list)`; `lost(pauseMs, reason)`, before it tries again. Fails with
 * `Refused` where trying again would not help.
 */
export async function follow(api, where, signal, on) {
  let cursor = null;
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    let reason = "the server is away";
    let wait = 0;
    try {
      const answer = await api.open("/stream", parameters(cursor, where), signal, SILENCE_MS);
      on.opened(cursor === null);
      cursor ??= answer.headers.get("KPIggyBank-Cursor");
      pause = FIRST_PAUSE_MS;
      for await (const lines of batches(answer.body)) {
        const changes = [];
        for (const line of lines) {
          if (line.doc !== undefined) changes.push(line);
          cursor = line.seq ?? line.last_seq ?? line.reset ?? cursor;
          if (line.reset !== undefined) {
            on.changes(changes.splice(0));
            on.opened(true);
          }
        }
        if (changes.length) on.changes(changes);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused) {
        reason = error.message;
        wait = 1000 * error.retryAfter;
        if (error.status === 400 && cursor !== null && !isAboutCondition(error)) {
          cursor = null; // another bank than before, which does not know this place
        } else if (error.status < 500 && error.status !== 408 && error.status !== 429) {
          throw error;
        }
      } else if (isAboutToken(error)) {
        throw error;
      }
    }
    if (signal.aborted) return;
    wait = Math.max(wait, pause * (0.75 + Math.random() / 2));
    on.lost(wait, reason);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    await elapsed(wait, signal);
  }
}

/** Whether the server does not understand the filter. */
export function isAboutCondition(error) {
  return error.status === 400 && error.message.startsWith("'where'");
}

function parameters(cursor, where) {
  return [...where, ["since", cursor ?? "now"], ["heartbeat", HEARTBEAT_SECONDS]];
}

/** The values of whole lines, in lists as they come. A line that is cut short was not said. */
async function* batches(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const giveUp = () => reader.cancel().catch(() => {}); // it may have failed by itself
  let heard = Date.now();
  const watch = setInterval(() => {
    if (Date.now() - heard > SILENCE_MS) giveUp();
  }, 1000);
  let pieces = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard = Date.now();
      const end = value.lastIndexOf("\n");
      if (end < 0) {
        pieces.push(value);
        continue;
      }
      const text = pieces.join("") + value.slice(0, end);
      pieces = [value.slice(end + 1)];
      yield text.split("\n").filter((line) => line.length > 1).map((line) => JSON.parse(line));
    }
  } finally {
    clearInterval(watch);
    giveUp();
  }
}

function elapsed(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}
