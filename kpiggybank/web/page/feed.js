// The list of events: the newest on top, drawn once a frame, and never more than so many.

import { moment } from "./event.js";
import { visible } from "./text.js";

export const MOST = 200;

export class Feed {
  #list;
  #template;
  #now;
  #changed;
  #first = [];
  #waiting = [];
  #paused = false;
  #missed = 0;
  #drawing = false;

  /** Shows in `list` what `template` has room for; `changed` is called after each drawing. */
  constructor(list, template, now, changed) {
    this.#list = list;
    this.#template = template;
    this.#now = now;
    this.#changed = changed;
  }

  /** Events, in the order of their arrival. */
  add(summaries) {
    this.#waiting.push(...summaries.slice(-MOST));
    if (this.#waiting.length > 2 * MOST) this.#waiting = this.#waiting.slice(-MOST);
    if (this.#paused) this.#missed += summaries.length;
    this.#drawSoon();
  }

  /** Forget all. */
  clear() {
    this.show([]);
  }

  /** Show these instead of all that was there, even while it is paused. */
  show(summaries) {
    this.#first = summaries;
    this.#waiting = [];
    this.#missed = 0;
    // Who was at an entry stays at the list.
    if (this.#list.contains(document.activeElement)) this.#list.focus();
    this.#list.replaceChildren();
    this.#drawSoon();
  }

  get paused() {
    return this.#paused;
  }

  set paused(paused) {
    this.#paused = paused;
    this.#missed = 0;
    this.#drawSoon();
  }

  /** How many came while it was paused. */
  get missed() {
    return this.#missed;
  }

  get isEmpty() {
    return this.#list.childElementCount === 0;
  }

  #drawSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#draw(this.#first.splice(0));
      if (!this.#paused) this.#draw(this.#waiting.splice(0));
      this.#changed();
    });
  }

  #draw(summaries) {
    if (!summaries.length) return;
    const now = this.#now();
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    const fragment = document.createDocumentFragment();
    for (const each of summaries.slice(-MOST)) {
      const full = this.#list.childElementCount + fragment.childElementCount >= MOST;
      // The oldest entry becomes the newest one: nothing is made anew for each event.
      const last = full ? this.#list.lastElementChild : null;
      const entry = last ?? this.#template.content.firstElementChild.cloneNode(true);
      fill(entry, each, now);
      fragment.prepend(entry);
    }
    this.#list.prepend(fragment);
    // The entry that was focused has fallen off, and is another event's now.
    if (focused && document.activeElement !== focused)
      this.#list.lastElementChild.querySelector("a").focus({ preventScroll: true });
  }
}

function fill(entry, event, now) {
  const { day, clock, full, iso } = moment(event.time, now);
  const [time, system, browser, took] = ["time", ".system", ".browser", ".took"].map((name) =>
    entry.querySelector(name),
  );
  time.dateTime = iso;
  time.title = full;
  time.firstElementChild.textContent = clock;
  time.lastElementChild.textContent = day;
  system.textContent = visible(event.system || event.type, 40);
  browser.textContent = visible(event.browser || (event.system && event.type), 60);
  took.textContent = event.took;
  const link = entry.querySelector("a");
  link.href = `#id=${encodeURIComponent(event.id)}`;
  if (link.hash === location.hash) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  link.lastElementChild.textContent = ` the event of ${day} ${clock}`;
}
