// The lines that can be tried: made to fit the server at hand.

const SERVER = "http://127.0.0.1:3000";

/** Let them ask this server. */
export function fitExamples() {
  const here = new URL(".", location.href).href.slice(0, -1);
  for (const code of document.querySelectorAll("pre.try"))
    for (const node of code.childNodes)
      if (node.nodeType === Node.TEXT_NODE) node.data = node.data.replaceAll(SERVER, here);
}

/** Let them say how a token is shown: this server wants one. */
export function showTokens() {
  for (const each of document.querySelectorAll(".with-token")) each.hidden = false;
}
