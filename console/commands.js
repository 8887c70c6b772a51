/** The commands, each as a form. Those that the caller's scopes do not allow are not offered. */

import { number } from "./api.js";
import { button, el, show } from "./dom.js";
import { checkbox, checked, form, input, value } from "./form.js";
import { may, session } from "./session.js";

/**
 * @typedef {import("./api.js").Reply} Reply
 * @typedef {(reply: Reply) => void} Done
 */

/** An order with its items. @param {Done} done */
export function createForm(done) {
  const items = el("div", { class: "items" });
  const user = input({ name: "user_id", label: "Customer", value: "ada", hint: "Empty: the caller" });
  const rename = () => {
    [...items.children].forEach((row, index) => {
      for (const control of row.querySelectorAll("input")) control.name = control.name.replace(/\[\d*\]/, `[${index}]`);
    });
  };
  const add = () => {
    const row = el("fieldset", {}, el("legend", {}, "Item"),
      input({ name: "items[].product_id", label: "Product", value: crypto.randomUUID(), hint: "A UUID" }),
      input({ name: "items[].quantity", label: "Quantity", value: "2", inputmode: "numeric" }),
      input({ name: "items[].price", label: "Unit price", value: "19.99", inputmode: "decimal" }),
      button("Remove", () => { row.remove(); rename(); }));
    items.append(row);
    rename();
  };
  add();
  const request = () => ({
    method: "POST",
    path: "/orders",
    body: {
      user_id: value(user, "user_id") || undefined,
      items: [...items.children].map((row, index) => ({
        product_id: value(row, `items[${index}].product_id`),
        quantity: number(value(row, `items[${index}].quantity`)),
        price: number(value(row, `items[${index}].price`)),
      })),
    },
  });
  return form({ name: "Create an order", submit: "Create", controls: [user, items, button("Add an item", add)], request, done });
}

/**
 * What can be done with an order in its state, by this caller.
 * @param {any} order @param {Done} done @param {() => void} reload
 */
export function orderForms(order, done, reload) {
  const own = order.user_id === session.caller?.sub;
  const is = (/** @type {string[]} */ ...states) => states.includes(order.status);
  const offered = [
    is("pending") && (may("checkout") || (own && may("write"))) && command(order, "pay", "Pay", payFields(order), done, reload),
    is("paid") && may("fulfil") && command(order, "ship", "Ship", [text("tracking_number", "Tracking number", "00340434161094042557")], done, reload),
    is("shipped") && may("fulfil") && command(order, "deliver", "Deliver", [], done, reload),
    is("delivered") && may("fulfil") && command(order, "return", "Return", [text("reason", "Reason", "Too small")], done, reload),
    is("pending", "paid", "shipped") && (may("fulfil") || (own && may("write"))) &&
      command(order, "cancel", "Cancel", [text("reason", "Reason", "Ordered twice by mistake")], done, reload),
  ];
  const forms = offered.filter(Boolean);
  return forms.length > 0 ? forms : [el("p", { class: "quiet" }, "Nothing can be done with it by this caller.")];
}

/** @param {any} order @returns {Node[]} */
function payFields(order) {
  return [
    text("payment_id", "Payment", `pay_${crypto.randomUUID().slice(0, 8)}`),
    input({ name: "amount", label: "Amount", value: String(order.total), inputmode: "decimal" }),
  ];
}

/** @param {string} name @param {string} label @param {string} example */
function text(name, label, example) {
  return input({ name, label, value: example });
}

/** @param {any} order @param {string} verb @param {string} label @param {Node[]} fields @param {Done} done @param {() => void} reload */
function command(order, verb, label, fields, done, reload) {
  const condition = checkbox("if_match", `only at version ${order.version}`, true);
  const controls = el("div", { class: "fields" }, fields);
  const root = form({
    name: `${label} the order`,
    submit: label,
    controls: [controls, condition],
    request: () => ({
      method: "POST",
      path: `/orders/${encodeURIComponent(order.order_id)}/${verb}`,
      body: body(controls),
      ifMatch: checked(condition, "if_match") ? order.version : undefined,
    }),
    done,
    reload,
  });
  const details = el("details", { class: `command-${verb}`, open: verb !== "cancel" }, el("summary", {}, label), root);
  return details;
}

/** @param {Element} controls */
function body(controls) {
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (controls.querySelectorAll("input"));
  return Object.fromEntries([...fields].map((field) => [field.name, field.name === "amount" ? number(field.value) : field.value]));
}

/** What a command has done. @param {Element} place @param {Reply} reply */
export function tellDone(place, reply) {
  const { status, payment, fallback, version } = reply.body;
  const notes = [
    `The order is ${status}, at version ${version}.`,
    payment === "deferred" && "The payment provider cannot be reached: the payment is accepted unverified and will be settled.",
    payment === "refund-due" && "The money was captured and is due for refund.",
    fallback && payment !== "deferred" && "The payment was not verified.",
    reply.headers.has("idempotency-replayed") && "This is the response to an earlier request with the same key; nothing was executed twice.",
  ];
  show(place, el("div", { class: "done", role: "status" }, notes.filter(Boolean).join(" ")));
}
