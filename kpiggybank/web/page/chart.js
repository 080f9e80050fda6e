// Events a minute over the last hour, as bars.

import uPlot from "./uplot/uPlot.esm.js";

const HEIGHT_EM = 9;

export class Chart {
  #place;
  #told;
  #plot = null;
  #data = [[], []];

  /** Draws into `place`; `told` is where it says what is under the pointer. */
  constructor(place, told) {
    this.#place = place;
    this.#told = told;
    new ResizeObserver(() => this.#fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#make());
    this.#make();
  }

  /** Draw these minutes: when each began, in milliseconds, and how many events it has. */
  draw(minutes) {
    const counts = minutes.map(([, count]) => count);
    this.#data = [minutes.map(([time]) => time / 1000), counts];
    this.#plot.setData(this.#data);
    this.#place.setAttribute(
      "aria-label",
      `Events a minute over the last hour: ${counts.at(-1)} in this minute, ` +
        `${Math.max(...counts)} in the fullest one`,
    );
  }

  #size() {
    const em = parseFloat(getComputedStyle(this.#place).fontSize);
    return { width: Math.max(1, this.#place.clientWidth), height: Math.round(HEIGHT_EM * em) };
  }

  #fit() {
    this.#plot.setSize(this.#size());
  }

  #make() {
    this.#plot?.destroy();
    const style = getComputedStyle(this.#place);
    const [ink, line, bar] = ["--quiet", "--line", "--accent"].map((name) =>
      style.getPropertyValue(name).trim(),
    );
    const em = parseFloat(style.fontSize);
    const axis = {
      stroke: ink,
      font: `${Math.round(0.8 * em)}px ${style.fontFamily}`,
      ticks: { show: false },
    };
    const options = {
      ...this.#size(),
      padding: [em / 2, 1.5 * em, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { y: { range: (plot, min, max) => [0, Math.max(4, 1.1 * max)] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 1.8 * em,
          space: 5 * em,
          values: (plot, times) => times.map((time) => clock(time)),
        },
        {
          ...axis,
          grid: { stroke: line, width: 1 },
          space: 2 * em,
          size: (plot, values) => em * (1 + 0.55 * Math.max(1, ...(values ?? []).map((v) => v.length))),
          incrs: [1, 2, 5, 10, 20, 50].flatMap((n) => [1, 100, 1e4, 1e6].map((m) => n * m)).sort((a, b) => a - b),
          values: (plot, counts) => counts.map((count) => count.toLocaleString()),
        },
      ],
      series: [{}, { fill: bar, width: 0, paths: uPlot.paths.bars({ size: [0.75], align: 1 }), points: { show: false } }],
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)] },
    };
    this.#plot = new uPlot(options, this.#data, this.#place);
  }

  #tell(index) {
    const [times, counts] = this.#data;
    const known = index !== null && index !== undefined && index in times;
    this.#told.textContent = known ? `${clock(times[index])}: ${counts[index].toLocaleString()}` : "";
  }
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

function clock(seconds) {
  return CLOCK.format(1000 * seconds);
}
