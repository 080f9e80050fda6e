// RapiDoc in the colours that the system is set to, with examples that ask the server at hand.
const EXAMPLE_SERVER = "http://127.0.0.1:3000";
const page = document.querySelector("rapi-doc");
const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  page.setAttribute("theme", dark.matches ? "dark" : "light");
}

dark.addEventListener("change", paint);
paint();
await customElements.whenDefined("rapi-doc");
const description = await (await fetch("/openapi.json")).text();
page.loadSpec(JSON.parse(description.replaceAll(EXAMPLE_SERVER, location.origin)));
