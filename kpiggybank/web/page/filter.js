// The filter: as it stands in its field, as the API takes it, and in the page's address.

const BETWEEN = " & ";
const ANY_BETWEEN = /(?:^|\s)&(?=\s|$)/;

/** What the API takes for the text of the field. */
export function conditionsIn(text) {
  const texts = text.split(ANY_BETWEEN).map((each) => each.trim());
  return texts.filter(Boolean).map((each) => ["where", each]);
}

/** The text of the field for what the API takes. */
export function textIn(conditions) {
  return conditions.map(([, text]) => text).join(BETWEEN);
}

/** What the address says. */
export function conditionsInAddress() {
  return new URLSearchParams(location.search).getAll("where").flatMap(conditionsIn);
}

/** Make the address say it, so that it outlives a reload and can be shared. */
export function keepInAddress(conditions) {
  const query = String(new URLSearchParams(conditions)).replaceAll("%3A", ":");
  const address = new URL(location.href);
  address.search = query;
  if (address.href !== location.href) history.replaceState(null, "", address);
}
