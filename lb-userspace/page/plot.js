// SPDX-License-Identifier: MIT OR Apache-2.0
// Small plots: one polyline over the last minute.
import { KEPT } from "./model.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 100;
const HEIGHT = 30;

/** Creates a plot. It repeats numbers that are beside it, and is hidden from screen readers. */
export function plot(filled) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const area = filled ? svg.appendChild(document.createElementNS(SVG, "polygon")) : null;
  const line = svg.appendChild(document.createElementNS(SVG, "polyline"));
  return { svg, line, area };
}

/** Draws values, the latest at the right. */
export function draw({ line, area }, values) {
  const largest = Math.max(1, ...values);
  const step = WIDTH / (KEPT - 1);
  const from = WIDTH - step * (values.length - 1);
  const points = values.map((value, at) => `${(from + at * step).toFixed(1)},${(HEIGHT - 1.5 - (value / largest) * (HEIGHT - 4)).toFixed(1)}`);
  line.setAttribute("points", points.join(" "));
  area?.setAttribute("points", values.length ? `${from.toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` : "");
}
