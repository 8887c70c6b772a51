/** Sales by day: a chart with its table, and a download. */

import { call, get } from "./api.js";
import { button, el, show, svg, table } from "./dom.js";
import { finder, input, value } from "./form.js";
import { money } from "./format.js";
import { problem } from "./problem.js";
import { go } from "./route.js";

const WIDTH = 420;
const HEIGHT = 160;
const DAY = 86_400_000;

/** @param {Element} main @param {URLSearchParams} query */
export function salesView(main, query) {
  const day = (/** @type {number} */ ago) => new Date(Date.now() - ago * DAY).toISOString().slice(0, 10);
  const range = { from: query.get("from") ?? day(29), to: query.get("to") ?? day(0) };
  const place = el("div", { class: "refreshes", "aria-busy": "true" }, el("p", { class: "quiet" }, "Loading…"));
  const path = `/reports/sales?${new URLSearchParams(range)}`;
  const pick = finder("Range", [input({ name: "from", label: "From", type: "date", value: range.from }), input({ name: "to", label: "To", type: "date", value: range.to })], "Show",
    (root) => go("/sales", { from: value(root, "from"), to: value(root, "to") }));
  const failed = el("div");
  const download = async () => {
    const reply = await call("GET", path, { accept: "text/csv" });
    if (!reply.ok) return show(failed, problem(reply, { repeat: download }));
    const url = URL.createObjectURL(new Blob([reply.body], { type: "text/csv" }));
    el("a", { href: url, download: `sales-${range.from}-${range.to}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
    return show(failed);
  };
  const load = async () => {
    const reply = await get("/reports/sales", range);
    place.removeAttribute("aria-busy");
    if (!reply.ok) return show(place, problem(reply, { repeat: load, reload: load }));
    return show(place, report(reply.body));
  };
  show(main, el("h1", { tabindex: -1 }, "Sales"), el("div", { class: "finders" }, pick, button("Download CSV", download)), failed, place);
  place.addEventListener("refresh", load);
  load();
}

/** @param {any} report */
function report({ days, total, currency }) {
  const count = (/** @type {any} */ figures) => Object.values(figures.orders).reduce((sum, tally) => sum + tally.count, 0);
  const row = (/** @type {any} */ figures, /** @type {string} */ name) => [
    name, count(figures), figures.payments.count, money(figures.payments.amount), money(figures.refunds_due.amount), money(figures.refunds.amount), money(figures.revenue)];
  const busy = (/** @type {any} */ day) => count(day) + day.payments.count + day.refunds_due.count + day.refunds.count > 0;
  const series = (/** @type {(day: any) => number} */ of) => days.map((/** @type {any} */ day) => ({ day: day.day, value: of(day) }));
  return [
    el("div", { class: "charts" },
      el("section", { class: "panel" }, el("h2", {}, `Revenue (${currency})`), chart("Revenue by day", series((day) => day.revenue), "revenue", money)),
      el("section", { class: "panel" }, el("h2", {}, "Orders"), chart("Orders by day", series(count), "orders", String)),
      el("section", { class: "panel" }, el("h2", {}, `Refunds done (${currency})`), chart("Refunds by day", series((day) => day.refunds.amount), "refunds", money))),
    el("section", { class: "panel" }, el("h2", {}, "Figures"),
      table(`Amounts in ${currency}. Days without sales are not listed.`, ["Day", "#Orders", "#Payments", "#Paid", "#Refunds due", "#Refunded", "#Revenue"],
        [row(total, "Total"), ...days.filter(busy).map((/** @type {any} */ day) => row(day, day.day)).reverse()])),
  ];
}

/**
 * Bars, above and below a line at zero.
 * @param {string} name @param {{day: string, value: number}[]} points @param {string} kind @param {(value: number) => string} format
 */
function chart(name, points, kind, format) {
  const values = points.map(({ value }) => value);
  const [top, bottom] = [Math.max(...values, 0), Math.min(...values, 0)];
  const scale = (HEIGHT - 40) / (top - bottom || 1);
  const zero = 16 + top * scale;
  const step = WIDTH / points.length;
  const bars = points.map(({ day, value }, index) =>
    svg("rect", { class: `bar ${kind}`, x: (index * step + step * 0.15).toFixed(2), width: (step * 0.7).toFixed(2), y: (value < 0 ? zero : zero - value * scale).toFixed(2), height: Math.abs(value * scale).toFixed(2) },
      svg("title", {}, `${day}: ${format(value)}`)));
  const label = (/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ text, /** @type {string} */ anchor) => svg("text", { x, y, "text-anchor": anchor }, text);
  const [first, last] = [points[0].day, points[points.length - 1].day];
  return el("figure", { class: "chart" },
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name}, from ${first} to ${last}; at most ${format(top)}. The table has the figures.` },
      svg("line", { x1: 0, x2: WIDTH, y1: zero, y2: zero }), ...bars,
      label(0, 12, format(top), "start"), label(0, HEIGHT - 4, first, "start"), label(WIDTH, HEIGHT - 4, last, "end")));
}
