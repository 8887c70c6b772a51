/** The lists of orders: the work queue, a user's orders, an order by its id, and a new order. */

import { get } from "./api.js";
import { createForm } from "./commands.js";
import { el, show, table, update } from "./dom.js";
import { finder, input, value } from "./form.js";
import { age, money, orderLink, status } from "./format.js";
import { problem } from "./problem.js";
import { go } from "./route.js";
import { may, session } from "./session.js";

const OPEN = ["pending", "paid", "shipped"];
const ALL = [...OPEN, "delivered", "returned", "cancelled"];
const PAGE = 20;

/** @param {Element} main @param {URLSearchParams} query */
export function ordersView(main, query) {
  const user = query.get("user") ?? (may("fulfil") ? null : session.caller?.sub);
  const reads = may("read", "fulfil");
  show(
    main,
    el("h1", { tabindex: -1 }, "Orders"),
    el("div", { class: "columns" },
      el("div", {}, reads ? finders(user ?? "") : el("p", { class: "quiet" }, "This caller's token lets it read no orders."),
        reads && (user ? userOrders(user, query) : may("fulfil") && queue(query))),
      may("checkout") && el("section", { class: "panel" }, el("h2", {}, "New order"), createForm((reply) => go(`/orders/${reply.body.order_id}`)))),
  );
}

/** @param {string} user */
function finders(user) {
  const byId = finder("Order by id", [input({ name: "id", label: "Order id" })], "Open", (root) => {
    const id = value(root, "id").trim();
    if (id) go(`/orders/${encodeURIComponent(id)}`);
  });
  const byUser = finder("Orders of a customer", [input({ name: "user", label: "Customer", value: user })], "List", (root) =>
    go("/orders", { user: value(root, "user").trim() }));
  return el("div", { class: "finders" }, byId, may("fulfil") && byUser);
}

/** The work queue: open orders of a status, oldest first. @param {URLSearchParams} query */
function queue(query) {
  const current = query.get("queue") ?? "paid";
  const tabs = OPEN.map((name) => el("a", { href: `#/orders?queue=${name}`, "aria-current": name === current && "page" }, status(name)));
  return el("section", {}, el("h2", {}, "Work queue"), el("nav", { class: "tabs", "aria-label": "Status" }, tabs),
    list("Oldest first", "/orders", { status: current }, { queue: current }, query));
}

/** @param {string} user @param {URLSearchParams} query */
function userOrders(user, query) {
  const current = query.get("status") ?? "";
  const tabs = ["", ...ALL].map((name) => {
    const href = `#/orders?${new URLSearchParams(name ? { user, status: name } : { user })}`;
    return el("a", { href, "aria-current": name === current && "page" }, name ? status(name) : "all");
  });
  return el("section", {}, el("h2", {}, "Orders of ", el("span", { class: "name" }, user)), el("nav", { class: "tabs", "aria-label": "Status" }, tabs),
    list("Newest first", `/users/${encodeURIComponent(user)}/orders`, { status: current }, current ? { user, status: current } : { user }, query));
}

/**
 * One page of a list; the next one replaces it.
 * @param {string} caption @param {string} path @param {Record<string, string>} filter
 * @param {Record<string, string>} place what stays in the address @param {URLSearchParams} query
 */
function list(caption, path, filter, place, query) {
  const root = el("div", { "aria-busy": "true" }, el("p", { class: "quiet" }, "Loading…"));
  const cursor = query.get("cursor") ?? undefined;
  const load = async () => {
    const reply = await get(path, { ...filter, limit: PAGE, cursor });
    root.removeAttribute("aria-busy");
    if (!reply.ok) return show(root, problem(reply, { repeat: load, reload: load }));
    const { orders, next_cursor: next } = reply.body;
    const rows = orders.map((/** @type {any} */ order) => [
      orderLink(order.order_id), status(order.status), order.user_id, money(order.total), order.item_count, age(order.created_at),
      order.parked ? el("strong", { class: "warn" }, "parked") : order.version,
    ]);
    const to = (/** @type {Record<string, string>} */ more) => `#/orders?${new URLSearchParams({ ...place, ...more })}`;
    return update(
      root,
      orders.length > 0 ? table(caption, ["Order", "Status", "Customer", "#Total", "#Items", "#Age", "#Version"], rows) : el("p", { class: "empty" }, "There are none."),
      el("p", { class: "pager" }, cursor && el("a", { href: to({}) }, "First page"), next && el("a", { href: to({ cursor: next }) }, "Next page")),
    );
  };
  root.addEventListener("refresh", load);
  root.classList.add("refreshes");
  load();
  return root;
}
