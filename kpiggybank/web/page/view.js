// One whole event beside the list. Its address can be shared: `#id=...`.

import { indented, visible } from "./text.js";

export class View {
  #api;
  #box;
  #asked = null;

  constructor(api, box) {
    this.#api = api;
    this.#box = box;
    // Not "hashchange", which is not told where the filter in the address changes as well.
    addEventListener("popstate", () => this.#follow());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || box.hidden || document.querySelector("dialog[open]")) return;
      // A field that is not empty is cleared by it.
      if (!event.target.value) this.close();
    });
    box.querySelector("button").addEventListener("click", () => this.close());
    this.#follow();
  }

  close() {
    const link = linkTo(location.hash) ?? document.querySelector("#feed li:last-child a");
    history.pushState(null, "", location.pathname + location.search);
    this.#hide();
    (link ?? document.getElementById("feed")).focus();
  }

  #hide() {
    this.#asked?.abort();
    this.#box.hidden = true;
    document.body.classList.remove("viewing");
    for (const link of document.querySelectorAll("a[aria-current]")) link.removeAttribute("aria-current");
  }

  async #follow() {
    const id = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")).get("id");
    this.#hide();
    if (id === null) return;
    linkTo(location.hash)?.setAttribute("aria-current", "true");
    this.#asked = new AbortController();
    this.#show(id, "…", "");
    const { signal } = this.#asked;
    try {
      const { text, whole } = indented(await this.#api.event(id, signal));
      if (!signal.aborted) this.#show(id, text, whole ? "" : "It is cut here; the API has all of it.");
    } catch (error) {
      if (signal.aborted) return;
      this.#show(id, "", error.status === 404 ? "There is no such event." : error.message);
    }
  }

  #show(id, text, remark) {
    const box = this.#box;
    const opened = box.hidden;
    box.hidden = false;
    document.body.classList.add("viewing");
    box.querySelector(".id").textContent = visible(id, 120);
    box.querySelector("pre").textContent = text;
    box.querySelector("pre").hidden = text === "";
    box.querySelector(".remark").textContent = visible(remark, 300);
    if (opened) box.querySelector("h2").focus();
  }
}

function linkTo(hash) {
  return document.querySelector(`#feed a[href="${CSS.escape(hash)}"]`);
}
