"use strict";
// The two live plots, drawn by uPlot. Colours are the page's own, and follow the system's dark and light.

const plots = (() => {
  const HEIGHT = 180;
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const seconds = (value) => (value >= 10 ? value.toFixed(0) : String(Number(value.toPrecision(2))));
  const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const made = [];

  function options(width, label, series, format) {
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: true }, y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [
        { ...axis, space: 90, values: (_, ticks) => ticks.map(clock) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map(format) },
      ],
      series: [{}, { label, ...series }],
    };
  }

  class Plot {
    constructor(id, label, style, format) {
      this.place = document.getElementById(id);
      Object.assign(this, { label, style, format, data: [[], []] });
      new ResizeObserver(() => this.resize()).observe(this.place);
      made.push(this);
    }

    draw() {
      this.chart?.destroy();
      const width = this.place.clientWidth;
      this.chart = width > 0 ? new uPlot(options(width, this.label, this.style(), this.format), this.data, this.place) : null;
    }

    resize() {
      const width = this.place.clientWidth;
      if (!this.chart) this.draw();
      else if (width > 0 && width !== this.chart.width) this.chart.setSize({ width, height: HEIGHT });
    }

    show(data, words) {
      this.data = data;
      this.place.setAttribute("aria-label", words);
      if (document.hidden) return;
      if (this.chart) this.chart.setData(data);
      else this.draw();
    }
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => made.forEach((one) => one.draw()));
  document.addEventListener("visibilitychange", () => made.forEach((one) => one.chart?.setData(one.data)));

  return {
    throughput: new Plot("throughput", "tokens a second", () => ({ stroke: color("--accent"), width: 1.5, points: { show: false } }), (value) => String(value)),
    ttft: new Plot("ttft", "seconds", () => ({ stroke: color("--accent"), paths: () => null, points: { show: true, size: 5, fill: color("--accent") } }), seconds),
  };
})();
