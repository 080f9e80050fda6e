// Text that others wrote: made visible, and never more than text.

// What cannot be seen, or changes how its neighbours are seen: control characters, marks of
// direction, spaces without width, line and paragraph separators, tags, and halves of characters.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;

/** A short text for a list: cut, and with each hidden character named. */
export function visible(text, most = 80) {
  const cut = text.length > most;
  // Not in the middle of a character.
  const shown = cut ? text.slice(0, most).replace(/[\ud800-\udbff]$/, "") : text;
  return shown.replace(HIDDEN, (character) => `‹U+${hex(character)}›`) + (cut ? "…" : "");
}

function hex(character) {
  return character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
}

/** JSON with its hidden characters escaped, as JSON allows anywhere in a string. */
function escaped(json) {
  return json.replace(HIDDEN, (character) =>
    character.replace(/[^]/g, (unit) => `\\u${hex(unit).toLowerCase()}`),
  );
}

/**
 * Compact JSON, indented. It is not decoded, so every number stays as it was sent.
 *
 * What is longer than `most` characters is cut there; `whole` tells whether nothing was.
 */
export function indented(event, most = 500_000) {
  const json = escaped(event);
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^"{}[\],:\s]+/gy;
  const space = /\s*/y;
  const parts = [];
  let depth = 0;
  let length = 0;
  let at = 0;
  let before = "";
  while (at < json.length && length < most) {
    space.lastIndex = at;
    space.test(json);
    token.lastIndex = space.lastIndex;
    const found = token.exec(json);
    if (!found) break;
    at = token.lastIndex;
    const word = found[0];
    const opens = before === "{" || before === "[";
    const closes = word === "}" || word === "]";
    if (closes) depth -= 1;
    if (before === "," || (opens && !closes) || (closes && !opens)) {
      parts.push("\n", "  ".repeat(depth));
      length += 1 + 2 * depth;
    }
    const part = word === ":" ? ": " : word;
    parts.push(part);
    length += part.length;
    if (word === "{" || word === "[") depth += 1;
    before = word;
  }
  const text = parts.join("");
  return { text: text.slice(0, most), whole: at >= json.length && text.length <= most };
}
