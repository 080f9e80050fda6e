// How many events there are: in all, in the last minute, and in each of the last 60 minutes.
//
// The server counts what is there, and the stream tells what is added. An event that is stored
// while the server counts may be in both. What was counted less what the stream had told when the
// question was sent is therefore never too small, and exact as soon as nothing was under way: the
// least of several answers is taken, until the stream was quiet around one of them. While many
// arrive, that is so between two that come, and a few questions will find such a moment.

import { timeOf } from "./event.js";

export const MINUTE = 60_000;
export const MINUTES = 60;
const SECOND = 1000;
const QUIET_MS = 1000;
const LONGEST_GAP_MS = 60_000;
const ROUNDS_AT_FIRST = 8;
const AT_ONCE = 3;
const DEAR_TIMES = 20;

class Tally {
  live = 0;
  base = null;
  liveWhenAsked = -1;
  proven = false;
  notBefore = -Infinity;

  /** Whether it has been counted, or begun with us. */
  get isKnown() {
    return this.base !== null || this.proven;
  }

  get value() {
    return Math.max(0, (this.base ?? 0) + this.live);
  }

  answered(count, live) {
    this.base = Math.min(this.base ?? Infinity, count - live);
    this.liveWhenAsked = live;
  }
}

export class Counts {
  #api;
  #where;
  #signal;
  #total = new Tally();
  #minutes = new Map();
  #seconds = new Map();
  #heard = -Infinity;
  #asking = false;
  #answered = -Infinity;
  #rounds = 0;
  #gap = QUIET_MS;

  /** Count the events that meet `where` from now on, until `signal`. */
  constructor(api, where, signal) {
    this.#api = api;
    this.#where = where;
    this.#signal = signal;
    const now = api.now();
    for (let ago = -1; ago < MINUTES; ago++) tally(this.#minutes, bin(now, MINUTE) - ago);
    for (let ago = 0; ago <= 60; ago++) tally(this.#seconds, bin(now, SECOND) - ago);
  }

  /** Events that the stream has told. */
  add(events) {
    this.#heard = performance.now();
    this.#total.live += events.length;
    const now = this.#api.now();
    for (const event of events) {
      const time = timeOf(event.timestamp);
      if (Math.abs(now - time) < (MINUTES + 2) * MINUTE) {
        tally(this.#minutes, bin(time, MINUTE), true).live += 1;
        if (Math.abs(now - time) < 2 * MINUTE) {
          tally(this.#seconds, bin(time, SECOND), true).live += 1;
        }
      }
    }
  }

  get total() {
    return this.#total.base === null ? null : this.#total.value;
  }

  /** The last 60 seconds, this one included; null until it is known. */
  get lastMinute() {
    if (!isKnown(this.#seconds)) return null;
    const last = bin(this.#api.now(), SECOND);
    let sum = 0;
    for (let ago = 0; ago < 60; ago++) sum += this.#seconds.get(last - ago)?.value ?? 0;
    return sum;
  }

  /** The last 60 minutes, this one included, which has only begun; null until it is known. */
  get lastHour() {
    return this.minutes?.reduce((sum, [, count]) => sum + count, 0) ?? null;
  }

  /** When each of these minutes began, and how many events it has; null until all is known. */
  get minutes() {
    if (!isKnown(this.#minutes)) return null;
    const first = bin(this.#api.now(), MINUTE) - MINUTES + 1;
    const numbers = Array.from({ length: MINUTES }, (_, index) => first + index);
    return numbers.map((number) => [number * MINUTE, this.#minutes.get(number)?.value ?? 0]);
  }

  /** To be called every second or so: asks the server where a number is not certain yet. */
  async tick() {
    this.#forget();
    const now = performance.now();
    if (this.#asking || now - this.#answered < QUIET_MS) return;
    const open = [this.#total, ...this.#minutes.values(), ...this.#seconds.values()];
    // What was under way when it was asked would have been told by now.
    for (const each of open) each.proven ||= each.liveWhenAsked === each.live;
    if (!open.some((each) => isDue(each, now))) return;
    const quiet = now - this.#heard > QUIET_MS;
    if (!quiet && now - this.#answered < this.#gap) return;
    this.#asking = true;
    try {
      await this.#ask(now);
    } finally {
      this.#asking = false;
      this.#answered = performance.now();
      this.#rounds += 1;
      if (this.#rounds > ROUNDS_AT_FIRST) this.#gap = Math.min(2 * this.#gap, LONGEST_GAP_MS);
    }
  }

  async #ask(now) {
    const due = (bins) =>
      [...bins.keys()].filter((key) => isDue(bins.get(key), now)).sort((a, b) => a - b);
    const hour = due(this.#minutes);
    let units = UNITS;
    if (isDue(this.#total, now)) {
      const whole = await this.#countTally(this.#total, () => this.#count({}));
      units = whole ? await this.#unitsIn(hour) : [];
    }
    // Before the crowd, so that it does not delay them: the two that change meanwhile.
    await this.#countBins(this.#minutes, hour.splice(-2), MINUTE, units);
    await this.#countBins(this.#minutes, hour, MINUTE, units);
    await this.#countBins(this.#seconds, due(this.#seconds), SECOND, units);
  }

  /** The units in which there are events in some minutes: mostly, it is one of the two. */
  async #unitsIn(hour) {
    if (!hour.length) return UNITS;
    const range = [Math.min(...hour) * MINUTE, (Math.max(...hour) + 1) * MINUTE];
    const counts = await Promise.all(UNITS.map((unit) => this.#countIn(range, unit)));
    return UNITS.filter((_, index) => counts[index] > 0);
  }

  async #countBins(bins, keys, size, units) {
    const waiting = [...keys];
    const work = async () => {
      for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
        const range = [key * size, (key + 1) * size];
        const each = bins.get(key);
        const enclosing = size < MINUTE ? this.#minutes.get(bin(range[0], MINUTE)) : null;
        const none = enclosing?.value === 0;
        if (each)
          await this.#countTally(each, async () => {
            if (none) return 0;
            // What the stream has told meanwhile may be in any unit.
            const any = each.live ? UNITS : units;
            const counts = await Promise.all(any.map((unit) => this.#countIn(range, unit)));
            return counts.reduce((sum, count) => sum + count, 0);
          });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async #countTally(each, ask) {
    const live = each.live;
    const began = performance.now();
    const count = await ask();
    const ended = performance.now();
    each.answered(count, live);
    // With a filter, the server looks at each event: what is dear to it is asked for less often.
    each.notBefore = this.#where.length ? ended + DEAR_TIMES * (ended - began) : -Infinity;
    return count;
  }

  #countIn([from, to], unit) {
    // Both ends are included, so the end is a little before the next range.
    return this.#count({ start: from / unit.ms, end: to / unit.ms - unit.little });
  }

  #count(range) {
    return this.#api.count(this.#where, range, this.#signal);
  }

  #forget() {
    const now = this.#api.now();
    for (const key of this.#minutes.keys())
      if (key <= bin(now, MINUTE) - MINUTES) this.#minutes.delete(key);
    for (const key of this.#seconds.keys())
      if (key < bin(now, SECOND) - 60) this.#seconds.delete(key);
  }
}

const UNITS = [
  { ms: 1000, little: 1e-6 },
  { ms: 1, little: 1e-3 },
];

function bin(time, size) {
  return Math.floor(time / size);
}

/** Whether a tally is not certain, and was not counted a moment ago. */
function isDue(tally, now) {
  return !tally.proven && tally.notBefore <= now;
}

function isKnown(bins) {
  return [...bins.values()].every((each) => each.isKnown);
}

/** The tally of a key, made where there is none; one that is not to be counted is certain. */
function tally(bins, key, proven = false) {
  let found = bins.get(key);
  if (!found) {
    found = new Tally();
    found.proven = proven;
    bins.set(key, found);
  }
  return found;
}
