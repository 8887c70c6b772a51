/** The events of an order, one after the other, with who caused them and how money moved. */

import { get } from "./api.js";
import { button, el, facts, show } from "./dom.js";
import { money, time } from "./format.js";
import { problem } from "./problem.js";
import { session } from "./session.js";

const PAGE = 20;

/** How money moves with an event. @type {Record<string, string>} */
const MONEY = {
  OrderPaid: "in",
  OrderPaymentDeferred: "expected",
  OrderRefundDue: "owed to the customer",
  OrderRefunded: "out",
};

/** @param {string} id */
export function timeline(id) {
  const list = el("ol", { class: "timeline" });
  const more = el("div");
  /** @param {string} [cursor] */
  const load = async (cursor) => {
    for (const one of more.querySelectorAll("button")) one.disabled = true;
    const reply = await get(`/orders/${encodeURIComponent(id)}/events`, { limit: PAGE, cursor });
    if (!reply.ok) return show(more, problem(reply, { repeat: () => load(cursor) }));
    const published = session.config.local ? await publishedOf(id) : new Map();
    list.append(...reply.body.events.map((/** @type {any} */ event) => entry(event, published.get(event.version))));
    const next = reply.body.next_cursor;
    return show(more, next && button("More events", () => load(next)));
  };
  load();
  return el("section", { class: "panel" }, el("h2", {}, "Timeline"), list, more);
}

/** @param {any} event @param {any} metadata as published, on the local stack */
function entry(event, metadata) {
  const { amount, payment_id: payment } = event.data;
  const moved = MONEY[event.type];
  const trace = (/** @type {string | undefined} */ value) => value && el("a", { href: `#/live?trace=${encodeURIComponent(value)}`, class: "mono" }, value);
  return el("li", { "data-type": event.type },
    el("p", { class: "what" }, el("b", {}, `${event.version} · ${words(event.type)}`), " ", time(event.recorded_at),
      moved && el("span", { class: "money" }, ` ${money(amount)} ${moved}`)),
    facts([["Actor", event.actor], ["Payment", payment], ["Correlation", trace(metadata?.correlation_id)], ["Causation", metadata?.causation_id && el("span", { class: "mono" }, metadata.causation_id)]]),
    el("details", {}, el("summary", {}, "Data"), el("pre", {}, JSON.stringify(event.data, null, 2))));
}

/** The metadata of the order's events on the bus, by version. @param {string} id @returns {Promise<Map<number, any>>} */
async function publishedOf(id) {
  try {
    const response = await fetch(`./dev/events?about=${encodeURIComponent(id)}`);
    const { entries } = await response.json();
    const details = entries.map((/** @type {any} */ one) => one.event?.detail?.metadata).filter((/** @type {any} */ one) => one?.order_id === id);
    return new Map(details.map((/** @type {any} */ one) => [one.version, one]));
  } catch {
    return new Map();
  }
}

/** `OrderRefundDue` as `Refund due`. @param {string} type */
function words(type) {
  const text = type.replace(/^Order/, "").replace(/([a-z])([A-Z])/g, "$1 $2");
  return text.charAt(0) + text.slice(1).toLowerCase();
}
