/** The local stack as it works: the bus, the streams, the payment provider, the log, and faults to inject. */

import { button, el, show, table } from "./dom.js";
import { finder, input, value } from "./form.js";
import { age, time } from "./format.js";
import { follow } from "./feed.js";
import { go } from "./route.js";
import { session } from "./session.js";
import { traceOf } from "./trace.js";

/** What is shown at most; older entries are dropped. */
const MOST = 100;

/** @param {Element} main @param {URLSearchParams} query */
export function liveView(main, query) {
  const [bus, log] = [el("ol", { class: "feed" }), el("ol", { class: "feed log" })];
  const [streams, provider, told] = [el("div"), el("div"), el("p", { class: "quiet", role: "status" })];
  const sought = query.get("trace") ?? "";
  const trace = el("div");
  const search = finder("Trace", [input({ name: "trace", label: "Correlation id, order id or trace id", value: sought })], "Show", (root) => go("/live", { trace: value(root, "trace").trim() }));
  show(main, el("h1", { tabindex: -1 }, "Local stack"),
    el("div", { class: "columns even" },
      el("section", { class: "panel" }, el("h2", {}, "Payment provider"), provider),
      el("section", { class: "panel" }, el("h2", {}, "Faults"), faults(told), told)),
    el("section", { class: "panel" }, el("h2", {}, "Streams"), streams),
    el("section", { class: "panel" }, el("h2", {}, "One trace"), search, trace),
    el("div", { class: "columns even" },
      el("section", { class: "panel" }, el("h2", {}, "Bus"), el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Bus" }, bus)),
      el("section", { class: "panel" }, el("h2", {}, sought ? `Log lines with ${sought}` : "Log"), el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Log" }, log))));
  if (sought) traceOf(trace, sought);
  /** @param {Element} list @param {Node | undefined} entry */
  const prepend = (list, entry) => {
    if (!entry) return;
    list.prepend(entry);
    if (list.children.length > MOST) list.lastElementChild?.remove();
  };
  follow(main, {
    start: () => { show(bus); show(log); },
    bus: (entry) => prepend(bus, busEntry(entry)),
    log: (entry) => prepend(log, !sought || entry.line.includes(sought) ? logEntry(entry) : undefined),
    streams: (positions) => show(streams, streamTable(positions)),
    payments: (state) => show(provider, ...providerSwitch(state, told)),
  });
}

/** @param {string} path @param {unknown} [body] @returns {Promise<boolean>} */
async function post(path, body) {
  try {
    return (await fetch(`./dev/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) })).ok;
  } catch {
    return false;
  }
}

/** @param {any} state @param {Element} told */
function providerSwitch(state, told) {
  const modes = { ok: "works", down: "is down", slow: "is slow", declines: "declines" };
  const set = async (/** @type {string} */ mode) => show(told, (await post("payments", { mode })) ? "" : "The local stack does not respond.");
  return [
    el("div", { class: "switch", role: "group", "aria-label": "The payment provider" },
      Object.entries(modes).map(([mode, label]) => button(label, () => set(mode), { "aria-pressed": String(mode === state.mode), "data-mode": mode }))),
    el("p", { class: "quiet" }, `Called ${state.asked} times, about ${state.payments} payments.`)];
}

/** @param {Element} told */
function faults(told) {
  const functions = el("select", { id: "kill" }, session.stack.functions.map((/** @type {string} */ name) => el("option", {}, name)));
  const schedules = el("select", { id: "schedule" }, session.stack.schedules.map((/** @type {string} */ name) => el("option", { selected: name === "settle-payments" }, name)));
  const inject = async (/** @type {string} */ path, /** @type {unknown} */ body, /** @type {string} */ text) =>
    show(told, (await post(path, body)) ? text : "The local stack does not respond.");
  return el("div", { class: "faults" },
    button("Lose the next response", () => inject("faults", { fault: "lose-response" }, "The next command is executed, and its response is lost. Repeat it with the same key.")),
    button("Lose the next write's response", () => inject("faults", { fault: "lose-write" }, "The next write to the event table is stored, and its response is lost. The command finds its own commit.")),
    button("Throttle the event table for 5 s", () => inject("faults", { fault: "throttle", seconds: 5 }, "For 5 seconds the event table rejects every request.")),
    el("p", { class: "finder" }, el("label", { for: "kill" }, "Function "), functions,
      button("Kill its containers", () => inject(`functions/${encodeURIComponent(functions.value)}/crash`, undefined, `The processes of ${functions.value} are killed; new ones take over.`))),
    el("p", { class: "finder" }, el("label", { for: "schedule" }, "Schedule "), schedules,
      button("Run it now", () => inject(`schedules/${encodeURIComponent(schedules.value)}`, undefined, `${schedules.value} runs.`))));
}

/** @param {any} positions */
function streamTable(positions) {
  const rows = Object.entries(positions).map(([name, at]) => {
    const [mapping, shard] = name.split(" ");
    return [el("span", { title: shard }, mapping), at.processed, at.pending, at.oldest_pending ? age(at.oldest_pending) : "none", el("code", {}, at.sequence ?? "start")];
  });
  return rows.length > 0 ? table("Positions", ["Mapping", "#Processed", "#Pending", "#Lag", "Position"], rows) : el("p", { class: "empty" }, "Nothing was written yet.");
}

/** @param {any} entry */
function busEntry(entry) {
  if (entry.kind === "event") {
    const { detail, source } = entry.event;
    const order = detail?.metadata?.order_id ?? detail?.data?.order_id ?? detail?.order_id;
    return el("li", {}, time(entry.at), " ", el("b", {}, entry.event["detail-type"]), ` from ${source}`,
      order && [" ", el("a", { href: `#/orders/${encodeURIComponent(order)}`, class: "mono" }, String(order).slice(0, 8))], el("span", { class: "quiet" }, entry.targets.length > 0 ? ` → ${entry.targets.join(", ")}` : ""));
  }
  if (entry.kind === "delivery") {
    const outcome = typeof entry.outcome === "string" ? entry.outcome : `in queue ${Object.values(entry.outcome)[0]}`;
    return el("li", { class: outcome === "done" ? "" : "warn" }, time(entry.at), ` ${entry.rule} → ${entry.function}: ${outcome}`, entry.attempt > 1 && `, attempt ${entry.attempt}`, entry.reason && ` (${entry.reason})`);
  }
  return el("li", { class: "warn" }, time(entry.at), ` rejected: ${entry.code} ${entry.message}`);
}

/** A line of the log: its level, message and fields. @param {{function: string, line: string}} entry */
function logEntry(entry) {
  let line;
  try {
    line = JSON.parse(entry.line);
  } catch {
    return el("li", { class: / (WARN|ERROR) /.test(entry.line) ? "warn" : "" }, el("b", {}, entry.function), ` ${entry.line}`);
  }
  if (!line || typeof line !== "object" || line._aws) return undefined;
  const { level = "", message = "", fields = {}, timestamp: _, target: __, span: ___, spans: ____, ...others } = line;
  const all = { ...others, ...fields };
  const text = Object.entries(all).filter(([name]) => name !== "message").map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ");
  return el("li", { class: /WARN|ERROR/.test(level) ? "warn" : "" }, el("b", {}, entry.function), ` ${level} ${fields.message ?? message} `, el("span", { class: "quiet" }, text));
}
