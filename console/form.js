/** Forms that send one command: with one idempotency key, kept for its repeats, and with what the API says at each field. */

import { call } from "./api.js";
import { announce, el, show } from "./dom.js";
import { problem } from "./problem.js";

/**
 * @typedef {import("./api.js").Reply} Reply
 * @typedef {object} Field
 * @property {string} name its path in the request's body
 * @property {string} label
 * @property {string} [value]
 * @property {string} [type]
 * @property {string} [inputmode]
 * @property {[string, string][]} [choices] values and labels
 * @property {string} [hint]
 *
 * @typedef {object} Request
 * @property {string} method
 * @property {string} path
 * @property {unknown} [body]
 * @property {number} [ifMatch]
 *
 * @typedef {object} Form
 * @property {string} name
 * @property {string} submit the label of its button
 * @property {boolean} [keyed] whether it has an idempotency key
 * @property {Node[]} controls
 * @property {() => Request} request
 * @property {(reply: Reply) => void} done
 * @property {() => void} [reload] reads what the form is about again
 */

/** A labelled input, with a place for its error. @param {Field} field */
export function input({ name, label, value = "", choices, hint, ...rest }) {
  const id = `f-${crypto.randomUUID()}`;
  const control = choices
    ? el("select", { id, name }, choices.map(([choice, text]) => el("option", { value: choice, selected: choice === value }, text)))
    : el("input", { id, name, value, autocomplete: "off", spellcheck: "false", ...rest });
  const error = el("span", { class: "error", id: `${id}-e` });
  control.setAttribute("aria-describedby", `${id}-e`);
  return el("div", { class: "field" }, el("label", { for: id }, label), control, hint && el("span", { class: "quiet" }, hint), error);
}

/** A checkbox with its label. @param {string} name @param {string} label @param {boolean} checked */
export function checkbox(name, label, checked) {
  return el("label", { class: "check" }, el("input", { type: "checkbox", name, checked }), " ", label);
}

/** @param {Form} form */
export function form({ name, submit, keyed = true, controls, request, done, reload }) {
  let key = crypto.randomUUID();
  let busy = false;
  const outcome = el("div", { class: "outcome" });
  const send = el("button", { type: "submit", class: "main" }, submit);
  const shownKey = el("code", { title: "Idempotency key" }, key.slice(0, 8));
  const root = el("form", { class: "command", "aria-label": name, novalidate: true, submit: (/** @type {Event} */ event) => {
    event.preventDefault();
    run();
  } }, controls, el("p", { class: "actions" }, send, keyed && el("span", { class: "quiet" }, " key ", shownKey)), outcome);

  const newKey = () => {
    key = crypto.randomUUID();
    show(shownKey, key.slice(0, 8));
    run();
  };

  async function run() {
    if (busy) return;
    clear(root);
    const { method, path, body, ifMatch } = request();
    busy = true;
    root.setAttribute("aria-busy", "true");
    send.setAttribute("aria-disabled", "true");
    const reply = await call(method, path, { body, ifMatch, key: keyed ? key : undefined });
    busy = false;
    root.removeAttribute("aria-busy");
    send.removeAttribute("aria-disabled");
    if (reply.ok) {
      show(outcome);
      announce(`${name}: done${reply.headers.has("idempotency-replayed") ? ", by an earlier request with this key" : ""}`);
      key = crypto.randomUUID();
      show(shownKey, key.slice(0, 8));
      return done(reply);
    }
    const rest = mark(root, reply.body?.errors ?? []);
    show(outcome, problem(reply, { repeat: run, reload, newKey: keyed ? newKey : undefined }, rest));
  }
  return root;
}

/** Shows each error at its field; returns those that have none. @param {HTMLElement} root @param {{path: string, detail: string}[]} errors */
function mark(root, errors) {
  const controls = /** @type {NodeListOf<HTMLInputElement>} */ (root.querySelectorAll("input, select"));
  const rest = errors.filter(({ path, detail }) => {
    const control = [...controls].find((one) => one.name === path);
    const place = control && root.querySelector(`#${control.getAttribute("aria-describedby")}`);
    if (!control || !place) return true;
    control.setAttribute("aria-invalid", "true");
    show(place, detail);
    return false;
  });
  /** @type {HTMLElement | null} */ (root.querySelector("[aria-invalid]"))?.focus();
  return rest;
}

/** @param {HTMLElement} root */
function clear(root) {
  for (const control of root.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  for (const error of root.querySelectorAll(".error")) show(error);
}

/** The value of a control. @param {ParentNode} root @param {string} name @returns {string} */
export function value(root, name) {
  const control = /** @type {HTMLInputElement | null} */ (root.querySelector(`[name="${CSS.escape(name)}"]`));
  return control?.value ?? "";
}

/** @param {ParentNode} root @param {string} name */
export function checked(root, name) {
  return Boolean(/** @type {HTMLInputElement | null} */ (root.querySelector(`[name="${CSS.escape(name)}"]`))?.checked);
}

/** A small form that only goes somewhere. @param {string} name @param {Node[]} controls @param {string} label @param {(root: HTMLElement) => void} go */
export function finder(name, controls, label, go) {
  const root = el("form", { class: "finder", role: "search", "aria-label": name, submit: (/** @type {Event} */ event) => {
    event.preventDefault();
    go(root);
  } }, controls, el("button", { type: "submit" }, label));
  return root;
}

