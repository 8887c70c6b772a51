/** What to do after a response that is not a success. */

import { button, el, show } from "./dom.js";
import { renew, session } from "./session.js";

/**
 * @typedef {import("./api.js").Reply} Reply
 * @typedef {object} Ways
 * @property {() => void} [repeat] sends the same request again, a command with the same key
 * @property {() => void} [reload] reads the order again
 * @property {() => void} [newKey] gives the form another idempotency key
 */

/** What each problem asks for. The API's own detail comes first. @type {Record<string, string>} */
const ADVICE = {
  "precondition-failed": "The order has changed since it was shown. Read it again, and decide then.",
  "idempotency-key-reused": "This form was sent before with other values. If this is another request, use a new key.",
  "outcome-unknown": "It is not known whether the change was stored. Repeat it with the same key: it is executed once.",
  "payment-unverified": "Nothing was stored. Repeat it with the same key.",
  "rate-limited": "Nothing was stored. Repeat it when the time is over.",
  unavailable: "Nothing was stored. Repeat it with the same key.",
  contended: "Nothing was stored. Repeat it with the same key.",
  "not-found": "Check the id, or choose another caller: an order of someone else is not shown.",
};

/** Advice for a status without a known problem type. @type {Record<number, [string, string]>} */
const BY_STATUS = {
  0: ["No response", "The connection ended before a response came."],
  401: ["The token is not accepted", "It is missing, invalid or expired."],
  403: ["Not allowed", "The token of this caller lacks the scope. Choose another caller."],
  404: ["Not found", "Check the id, or choose another caller."],
  409: ["The order's state does not allow it", "Read the order again to see its state."],
  412: ["The order has changed", "Read it again, and decide then."],
  429: ["Too many requests", "Nothing was stored. Repeat it when the time is over."],
  500: ["The service has a fault", "A repeat does not help. Report the request."],
  503: ["The service is not available", "Repeat it with the same key: it is executed once."],
};

/** The last part of a problem's type. @param {Reply} reply @returns {string} */
export function kind(reply) {
  const type = reply.body?.type;
  return typeof type === "string" ? type.replace(/^.*:/, "") : "";
}

/**
 * A box that says what happened and what to do next.
 * @param {Reply} reply @param {Ways} ways @param {{path: string, detail: string}[]} [errors] those that have no field of their own
 */
export function problem(reply, ways, errors = reply.body?.errors ?? []) {
  const body = reply.body ?? {};
  const [title, advice] = BY_STATUS[reply.status] ?? ["The request was rejected", ""];
  const unsure = reply.status === 0 && reply.sent;
  const known = ADVICE[kind(reply)] ?? (unsure ? ADVICE["outcome-unknown"] : advice);
  // A read has no key.
  const next = reply.status === 503 && !reply.sent ? "Repeat it." : known;
  const box = el(
    "div",
    { class: "problem", role: "alert", "data-problem": kind(reply) || reply.status },
    el("h3", {}, body.title ?? title),
    body.detail && el("p", {}, body.detail),
    errors.length > 0 && el("ul", {}, errors.map(({ path, detail }) => el("li", {}, el("code", {}, path), " ", detail))),
    next && el("p", {}, next),
    body.instance && el("p", { class: "quiet" }, "Request ", el("code", {}, String(body.instance).replace(/^.*:/, ""))),
  );
  box.append(actions(reply, ways, unsure));
  return box;
}

/** @param {Reply} reply @param {Ways} ways @param {boolean} unsure */
function actions(reply, ways, unsure) {
  const list = el("p", { class: "actions" });
  const { status } = reply;
  if (status === 401 && session.config.local) {
    list.append(button("Get a new token", async () => { await renew().catch(() => undefined); (ways.repeat ?? ways.reload)?.(); }));
  }
  if (ways.newKey && kind(reply) === "idempotency-key-reused") list.append(button("Use a new key", ways.newKey));
  if (ways.reload && [409, 412, 503, 0].includes(status)) list.append(button("Read it again", ways.reload));
  if (ways.repeat && (status === 429 || status === 503 || status === 0)) {
    const wait = Number(reply.headers.get("retry-after")) || 0;
    const label = unsure || (reply.sent && status === 503) ? "Repeat with the same key" : "Repeat";
    list.append(countedDown(label, status === 429 ? Math.max(1, wait) : wait, ways.repeat));
  }
  return list;
}

/** A button that can be used after some seconds. @param {string} label @param {number} seconds @param {() => void} act */
function countedDown(label, seconds, act) {
  const remaining = el("span", { class: "count", "aria-hidden": "true" });
  const repeat = button(label, act, { disabled: seconds > 0 });
  const end = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    repeat.disabled = left > 0;
    show(remaining, left > 0 ? ` in ${left} s` : "");
    if (left > 0 && (remaining.isConnected || left === seconds)) setTimeout(tick, 250);
  };
  tick();
  return el("span", {}, repeat, remaining);
}
