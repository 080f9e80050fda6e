// RapiDoc in the colours that the system is set to.
const page = document.querySelector("rapi-doc");
const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  page.setAttribute("theme", dark.matches ? "dark" : "light");
}

dark.addEventListener("change", paint);
paint();
