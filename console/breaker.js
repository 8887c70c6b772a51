/** A circuit breaker's states as a diagram. */

import { el, svg } from "./dom.js";

/** @type {Record<string, [number, number]>} */
const PLACES = { closed: [80, 40], open: [440, 40], "half-open": [260, 150] };

/** Transitions: the line, its label, and where the label is. @type {[string, string, number, number, string][]} */
const MOVES = [
  ["M128 40H388", "too many failures", 258, 32, "middle"],
  ["M432 62 314 142", "its time is over", 388, 118, "start"],
  ["M296 128 396 60", "a probe fails", 336, 90, "end"],
  ["M216 128 104 62", "probes succeed", 146, 106, "end"],
];

/** @param {string} state */
export function diagram(state) {
  const id = `arrow-${crypto.randomUUID().slice(0, 8)}`;
  const nodes = Object.entries(PLACES).map(([name, [x, y]]) =>
    svg("g", { class: name === state ? "node current" : "node" },
      svg("rect", { x: x - 48, y: y - 20, width: 96, height: 40, rx: 8 }),
      svg("text", { x, y: y + 5, "text-anchor": "middle" }, name === state ? `● ${name}` : name)));
  const moves = MOVES.map(([path, label, x, y, anchor]) =>
    svg("g", { class: "move" }, svg("path", { d: path, "marker-end": `url(#${id})` }), svg("text", { x, y, "text-anchor": anchor }, label)));
  const arrow = svg("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0 8 4 0 8z" }));
  return el("figure", { class: "diagram" },
    svg("svg", { viewBox: "0 0 500 180", role: "img", "aria-label": `States of a circuit breaker; it is ${state}` }, svg("defs", {}, arrow), ...moves, ...nodes),
    el("figcaption", { class: "unseen" }, `The breaker is ${state}.`));
}
