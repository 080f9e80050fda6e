// Questions to the server. All of them go by its public API.

// Beside the page, which may have a path before it.
const EVENTS = "wsapi/interaction_data";
const TOKEN = "kpiggybank-read-token";
// Refusals that have nothing to do with the token.
const UNRELATED = new Set([400, 404, 408, 414, 429]);

/** An answer that is an error, with what the server says of it. */
export class Refused extends Error {
  constructor(status, reason, retryAfter) {
    super(reason);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export class Api {
  #askForToken;
  #asking = null;
  #token = sessionStorage.getItem(TOKEN);
  #skew = 0;

  /** `askForToken(wasRefused)` promises a token, and fails where none is given. */
  constructor(askForToken) {
    this.#askForToken = askForToken;
  }

  /** The server's time, as far as its answers have told it: this machine's clock may be wrong. */
  now() {
    return Date.now() + this.#skew;
  }

  /** Whether a token is remembered that the server has taken. */
  get hasToken() {
    return sessionStorage.getItem(TOKEN) !== null;
  }

  /**
   * An answer whose body is still to be read; fails with `Refused` where it is an error.
   *
   * `patience` is how many milliseconds the head of an answer may take; without it, any time.
   */
  async open(path, parameters, signal, patience) {
    const url = `${EVENTS}${path}?${new URLSearchParams(parameters)}`;
    for (;;) {
      const token = this.#token;
      const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
      const answer = await fetchWithin(patience, signal, url, { headers });
      this.#learnTime(answer.headers.get("Date"));
      if (answer.ok) {
        if (token !== null) sessionStorage.setItem(TOKEN, token);
        return answer;
      }
      const error = await refusal(answer);
      if (error.status !== 401) {
        // A token that nobody has taken yet may be what is wrong, so the next question is without.
        if (!this.hasToken && !UNRELATED.has(error.status) && error.status < 500) this.#token = null;
        throw error;
      }
      // Another question may have brought a new token meanwhile.
      if (token === this.#token) await this.#newToken(token !== null);
      signal?.throwIfAborted();
    }
  }

  async #newToken(wasRefused) {
    sessionStorage.removeItem(TOKEN);
    this.#token = null;
    this.#asking ??= this.#askForToken(wasRefused).finally(() => {
      this.#asking = null;
    });
    this.#token = await this.#asking;
  }

  #learnTime(date) {
    const skew = Date.parse(date ?? "") - Date.now();
    // The header has whole seconds, and the answer has been on its way.
    this.#skew = Math.abs(skew) > 3000 ? skew : 0;
  }

  /** How many events there are from `start` to `end`, both included, in the sender's unit. */
  async count(where, range, signal) {
    const answer = await this.open("/count", [...where, ...Object.entries(range)], signal);
    return answer.json();
  }

  /** The newest rows of a range, newest first. */
  async newest(where, limit, range, signal) {
    const rows = [];
    let parameters = [
      ...where,
      ...Object.entries({ format: "rows", descending: "true", limit, ...range }),
    ];
    while (parameters && rows.length < limit) {
      const answer = await this.open("", parameters, signal);
      rows.push(...(await answer.json()));
      // A page of large events may hold fewer than were asked for.
      const next = /<[^>?]*\?([^>]*)>; rel="next"/.exec(answer.headers.get("Link") ?? "");
      parameters = next && new URLSearchParams(next[1]);
    }
    return rows.slice(0, limit);
  }

  /** The text of one event, as the server has it. */
  async event(id, signal) {
    const answer = await this.open("", { id }, signal);
    const text = await answer.text();
    return text.slice('{"results":'.length, -1);
  }
}

/** Fetch, and give up if the head of the answer does not come in time. */
async function fetchWithin(patience, signal, url, options) {
  const late = new AbortController();
  const timer = patience && setTimeout(() => late.abort(), patience);
  try {
    return await fetch(url, {
      ...options,
      signal: patience ? AbortSignal.any([signal, late.signal]) : signal,
      cache: "no-store",
      credentials: "omit",
    });
  } finally {
    clearTimeout(timer);
  }
}

async function refusal(answer) {
  let reason = `the server answers ${answer.status}`;
  try {
    reason = (await answer.json()).reason ?? reason;
  } catch {
    // Not from KPIggyBank, but from something before it.
  }
  return new Refused(answer.status, reason, Number(answer.headers.get("Retry-After")) || 0);
}
