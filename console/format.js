/** Values as people read them. */

import { el, svg } from "./dom.js";
import { session } from "./session.js";

/** @param {number} amount */
export function money(amount) {
  const currency = session.config.currency;
  return new Intl.NumberFormat("en", currency ? { style: "currency", currency } : { minimumFractionDigits: 2 }).format(amount);
}

/** @param {string | number | Date | null | undefined} time @returns {Node | undefined} */
export function time(time) {
  if (time === null || time === undefined) return undefined;
  const date = new Date(time);
  const text = date.toISOString().replace("T", " ").replace(/\.\d+Z$/, "");
  return el("time", { datetime: date.toISOString(), title: `${age(date)} ago` }, `${text} UTC`);
}

/** How long ago. @param {string | number | Date} time */
export function age(time) {
  return duration((Date.now() - new Date(time).getTime()) / 1000);
}

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** The shape of each status, so that colour is not needed. */
const SHAPES = /** @type {Record<string, string>} */ ({
  pending: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
  paid: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2v8a4 4 0 0 1 0-8z",
  shipped: "M2 5h7V3l5 5-5 5v-2H2z",
  delivered: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-1 10L3.800 7.800l1.400-1.400L7 8.200l3.800-3.800 1.400 1.400z",
  returned: "M14 5H7V3L2 8l5 5v-2h7z",
  cancelled: "M3.400 2 8 6.600 12.600 2 14 3.400 9.400 8l4.600 4.600-1.400 1.400L8 9.400 3.400 14 2 12.600 6.600 8 2 3.400z",
});

/** @param {string} name */
export function status(name) {
  const shape = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: SHAPES[name] ?? SHAPES.pending, "fill-rule": "evenodd" }));
  return el("span", { class: `status ${SHAPES[name] ? name : ""}` }, shape, name);
}

/** A link to an order. @param {string} id @param {string} [text] */
export function orderLink(id, text) {
  return el("a", { href: `#/orders/${encodeURIComponent(id)}`, title: id, class: "mono" }, text ?? id.slice(0, 8));
}
