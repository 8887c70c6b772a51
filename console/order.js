/** One order: its state, its commands, its timeline, its versions, and whether its row agrees with its events. */

import { get } from "./api.js";
import { orderForms, tellDone } from "./commands.js";
import { button, el, facts, show, table } from "./dom.js";
import { money, status, time } from "./format.js";
import { problem } from "./problem.js";
import { session } from "./session.js";
import { timeline } from "./timeline.js";

/** @param {Element} main @param {string} id */
export function orderView(main, id) {
  const told = el("div");
  const content = el("div", { class: "refreshes", "aria-busy": "true" }, el("p", { class: "quiet" }, "Loading…"));
  show(main, el("h1", { tabindex: -1 }, "Order ", el("span", { class: "mono name" }, id)), told, content);

  let shown = "";
  let typed = false;
  let loads = 0;
  /** The version after the last command: the order's row may be behind it. */
  let least = 0;
  content.addEventListener("input", (/** @type {Event} */ event) => { typed ||= Boolean(/** @type {Element} */ (event.target).closest("form")); });

  /** Whether a form must stay: it is being filled in, it waits for its response, or its key is needed for a repeat. */
  const inUse = () => typed || content.querySelector("form[aria-busy], .outcome .problem") !== null;

  /** Shows the order again if it has changed; a form in use stays. */
  const refresh = async () => {
    const { ok, body } = await get(`/orders/${encodeURIComponent(id)}`);
    if (ok && mark(body) === shown) return;
    if (!inUse()) return load();
    if (ok) show(told, el("div", { class: "done", role: "status" }, `The order is ${body.status} now, at version ${body.version}. `, button("Read it again", () => load())));
  };

  /** @param {number} [version] the least version to show @returns {Promise<unknown>} */
  const load = async (version) => {
    const path = `/orders/${encodeURIComponent(id)}`;
    const turn = (loads += 1);
    least = Math.max(least, version ?? 0);
    const reply = await get(path, { min_version: least || undefined });
    // A later one has begun.
    if (turn !== loads) return undefined;
    content.removeAttribute("aria-busy");
    if (!reply.ok) {
      shown = "";
      return show(content, problem(reply, { repeat: () => load(version), reload: () => load() }));
    }
    const order = reply.body;
    [shown, typed] = [mark(order), false];
    const done = (/** @type {import("./api.js").Reply} */ answer) => {
      tellDone(told, answer);
      load(answer.body.version);
    };
    return show(
      content,
      order.parked && el("p", { class: "parked", role: "alert" }, "This order is parked: this version of the service cannot read a newer event of it. The last readable state is shown."),
      el("div", { class: "columns order" },
        el("section", { class: "panel" }, el("h2", {}, "Now"), state(order)),
        el("section", { class: "panel aside" }, el("h2", {}, "Commands"), orderForms(order, done, () => load())),
        el("div", {}, timeline(id), versions(path, order), agreement(path, order.version))),
    );
  };
  content.addEventListener("refresh", refresh);
  load();
}

/** What tells two states of an order apart. @param {any} order */
function mark(order) {
  return `${order.version} ${order.parked}`;
}

/** The fields of an order, as they are or were. @param {any} order */
function state(order) {
  const items = order.items.map((/** @type {any} */ item) => [el("span", { class: "mono", title: item.product_id }, item.product_id.slice(0, 8)), item.quantity, money(item.price)]);
  const refunds = (order.refunds ?? []).map((/** @type {any} */ refund) =>
    el("p", {}, `${money(refund.amount)} of ${refund.payment_id}: `, refund.done ? `refunded (${refund.done.refund_id})` : "due", ` – ${refund.reason}`));
  return el("div", {},
    facts([
      ["Status", status(order.status)],
      ["Customer", session.caller ? el("a", { href: `#/orders?${new URLSearchParams({ user: order.user_id })}` }, order.user_id) : order.user_id],
      ["Total", money(order.total)],
      ["Version", order.version],
      ["Created", time(order.created_at)],
      ["Payment", order.payment && [`${order.payment.payment_id}, `, time(order.payment.paid_at)]],
      ["Waits for settlement", order.deferred_payment && [`${order.deferred_payment.payment_id}, since `, time(order.deferred_payment.deferred_at)]],
      ["Declined", order.rejected_payment && `${order.rejected_payment.payment_id}: ${order.rejected_payment.reason}`],
      ["Refunds", refunds.length > 0 && refunds],
      ["Shipment", order.shipment && [`${order.shipment.tracking_number}, `, time(order.shipment.shipped_at)]],
      ["Delivered", time(order.delivered_at)],
      ["Returned", order.returned && order.returned.reason],
      ["Cancelled", order.cancellation && order.cancellation.reason],
    ]),
    table("Items", ["Product", "#Quantity", "#Unit price"], items));
}

/** A slider through the versions of an order. @param {string} path @param {any} order */
function versions(path, order) {
  const place = el("div", { "aria-live": "polite" }, el("p", { class: "quiet" }, order.version > 1 ? "Move the slider to see an earlier version." : "This is the first version."));
  const shown = el("output", {}, `${order.version} of ${order.version}`);
  let wanted = order.version;
  let busy = false;
  const load = async () => {
    if (busy) return;
    busy = true;
    const version = wanted;
    const reply = await get(path, { at_version: version });
    busy = false;
    show(place, reply.ok ? state(reply.body) : problem(reply, { repeat: load }));
    if (wanted !== version) load();
  };
  const slider = el("input", { id: "version", type: "range", min: 1, max: order.version, value: order.version, disabled: order.version === 1,
    input: (/** @type {Event} */ event) => {
      wanted = Number(/** @type {HTMLInputElement} */ (event.target).value);
      show(shown, `${wanted} of ${order.version}`);
      load();
    } });
  return el("section", { class: "panel" }, el("h2", {}, "As it was"),
    el("p", { class: "slider" }, el("label", { for: "version" }, "Version "), slider, " ", shown), place);
}

/** The row beside the order rebuilt from its events. @param {string} path @param {number} version */
function agreement(path, version) {
  const place = el("div", { class: "refreshes", "aria-live": "polite" }, el("p", { class: "quiet" }, "Comparing…"));
  let behind = 0;
  const compare = async () => {
    const row = await get(path);
    const fold = row.ok ? await get(path, { at_version: row.body.version }) : row;
    if (!row.ok || !fold.ok) return show(place, problem(row.ok ? fold : row, { repeat: compare }));
    const names = [...new Set([...Object.keys(row.body), ...Object.keys(fold.body)])];
    const differs = (/** @type {string} */ name) => canonical(row.body[name]) !== canonical(fold.body[name]);
    const different = names.filter((name) => name !== "parked" && differs(name));
    behind = version - row.body.version;
    const note = different.length > 0 ? `They differ in ${different.join(", ")}.` : `They agree at version ${row.body.version}.`;
    const rows = names.map((name) => [name, el("code", {}, canonical(row.body[name])), el("code", {}, canonical(fold.body[name])), different.includes(name) ? "differs" : "same"]);
    return show(place,
      el("p", { class: different.length > 0 ? "warn" : "good" }, note, behind > 0 && ` The row is ${behind} behind.`),
      el("details", {}, el("summary", {}, "Field by field"), table("Row and events", ["Field", "Row", "Events", "Result"], rows)));
  };
  place.addEventListener("refresh", () => { if (behind > 0) compare(); });
  compare();
  return el("section", { class: "panel agreement" }, el("h2", {}, "Row and events"), place);
}

/** JSON with sorted names. @param {any} value @returns {string} */
function canonical(value) {
  const sorted = (/** @type {string} */ _, /** @type {any} */ inner) =>
    inner && typeof inner === "object" && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort()) : inner;
  return JSON.stringify(value, sorted) ?? "–";
}

