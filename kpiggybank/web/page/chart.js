// Events a minute over the last hour, as bars.

import uPlot from "./uplot/uPlot.esm.js";

const MINUTE_S = 60;
// A bar stands in the middle of its minute.
const HALF_S = MINUTE_S / 2;

export class Chart {
  #place;
  #told;
  #plot = null;
  #data = [[], []];

  /** Draws into `place`; `told` is where it says what is under the pointer, or the arrow keys. */
  constructor(place, told) {
    this.#place = place;
    this.#told = told;
    new ResizeObserver(() => this.#fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#make());
    place.addEventListener("keydown", (event) => this.#move(event));
    place.addEventListener("blur", () => this.#plot.setCursor({ left: -10, top: -10 }));
    this.#make();
  }

  /** Draw these minutes: when each began, in milliseconds, and how many events it has; or none. */
  draw(minutes) {
    const counts = minutes.map(([, count]) => count);
    this.#data = [minutes.map(([time]) => time / 1000 + HALF_S), counts];
    this.#plot.setData(this.#data);
    const now = counts.length
      ? `: ${counts.at(-1)} in this minute, ${Math.max(...counts)} in the fullest one`
      : "";
    this.#place.setAttribute("aria-label", `Events a minute over the last hour${now}`);
  }

  #size() {
    return {
      width: Math.max(1, this.#place.clientWidth),
      height: Math.max(1, this.#place.clientHeight),
    };
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
      scales: {
        // Whole minutes, the one that runs included.
        x: { range: (plot, min, max) => (min === null ? [0, 1] : [min - HALF_S, max + HALF_S]) },
        y: { range: (plot, min, max) => [0, Math.max(4, 1.1 * max)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          gap: 0.7 * em,
          size: 2.1 * em,
          space: 5 * em,
          values: (plot, times) => (this.#data[0].length ? times.map(clock) : []),
        },
        {
          ...axis,
          grid: { stroke: line, width: 1 },
          // So little at the most that there is one above 0 in any case, however low the chart is.
          space: (plot, axis, min, max, height) => Math.min(1.5 * em, 0.36 * height),
          size: (plot, values) => em * (1 + 0.55 * Math.max(1, ...(values ?? []).map((v) => v.length))),
          incrs: [1, 2, 5, 10, 20, 50].flatMap((n) => [1, 100, 1e4, 1e6].map((m) => n * m)).sort((a, b) => a - b),
          values: (plot, counts) => counts.map((count) => count.toLocaleString()),
        },
      ],
      series: [
        {},
        { fill: bar, width: 0, paths: uPlot.paths.bars({ size: [0.75] }), points: { show: false } },
      ],
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)] },
    };
    this.#plot = new uPlot(options, this.#data, this.#place);
  }

  /** Left and right go from minute to minute, Home and End to the first and the last one. */
  #move(event) {
    const last = this.#data[0].length - 1;
    const now = this.#plot.cursor.idx ?? last + 1;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    const index = Math.min(Math.max(to, 0), last);
    this.#plot.setCursor({ left: this.#plot.valToPos(this.#data[0][index], "x"), top: 0 });
  }

  #tell(index) {
    const [times, counts] = this.#data;
    const known = index !== null && index !== undefined && index in times;
    const text = known ? `${clock(times[index] - HALF_S)}: ${counts[index].toLocaleString()}` : "";
    if (this.#told.textContent !== text) this.#told.textContent = text;
  }
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});

function clock(seconds) {
  return CLOCK.format(1000 * seconds);
}
