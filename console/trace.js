/** The spans of a correlation id, an order or a trace, as a tree. */

import { el, show } from "./dom.js";
import { orderLink } from "./format.js";

/** @param {Element} place @param {string} id */
export async function traceOf(place, id) {
  let found;
  try {
    found = await (await fetch(`./dev/traces?id=${encodeURIComponent(id)}`)).json();
  } catch {
    return show(place, el("p", { class: "warn" }, "The local stack does not respond."));
  }
  if (found.spans.length === 0) return show(place, el("p", { class: "empty" }, "There are no spans of it."));
  const spans = found.spans.sort((/** @type {any} */ a, /** @type {any} */ b) => a.start - b.start);
  const known = new Set(spans.map((/** @type {any} */ span) => span.span_id));
  const roots = spans.filter((/** @type {any} */ span) => !known.has(span.parent_id));
  return show(place, found.orders.length > 0 && el("p", {}, "Orders: ", found.orders.flatMap((/** @type {string} */ order) => [orderLink(order), " "])), tree(roots, spans, 0));
}

/** @param {any[]} level @param {any[]} all @param {number} depth @returns {Node} */
function tree(level, all, depth) {
  return el("ul", { class: depth === 0 ? "tree" : "" }, level.map((span) => {
    const below = depth < 30 ? all.filter((other) => other.parent_id === span.span_id && other.span_id !== span.span_id) : [];
    const notes = ["db.collection.name", "http.response.status_code", "outcome", "error.type"].map((name) => span.attributes[name]).filter(Boolean);
    return el("li", {}, el("span", { class: span.failed ? "warn" : "" }, span.name), el("span", { class: "quiet" }, ` ${span.function}, ${((span.end - span.start) / 1e6).toFixed(1)} ms ${notes.join(" ")}`),
      below.length > 0 && tree(below, all, depth + 1));
  }));
}
