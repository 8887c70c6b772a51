/** For administrators: the circuit breakers, the payments that wait, and the rate limits. */

import { get, limits, signals } from "./api.js";
import { diagram } from "./breaker.js";
import { button, el, facts, show, table } from "./dom.js";
import { form, input, value } from "./form.js";
import { duration, time } from "./format.js";
import { problem } from "./problem.js";
import { may } from "./session.js";

/** @param {Element} main */
export function resilienceView(main) {
  const breakers = el("div", { class: "refreshes", "aria-busy": "true" }, el("p", { class: "quiet" }, "Loading…"));
  const rest = el("div");
  const quotas = el("section", { class: "panel" });
  const forms = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let probe;
  show(main, el("h1", { tabindex: -1 }, "Resilience"), may() && [breakers, rest], quotas);
  const showQuotas = () => {
    if (!quotas.isConnected) return signals.removeEventListener("limits", showQuotas);
    return show(quotas, ...quotaTable());
  };
  signals.addEventListener("limits", showQuotas);
  showQuotas();
  if (!may()) return;

  const load = async () => {
    const reply = await get("/ops/status");
    breakers.removeAttribute("aria-busy");
    if (!reply.ok) return show(breakers, problem(reply, { repeat: load, reload: load }));
    const places = reply.body.breakers.map((/** @type {any} */ breaker) => {
      // A form that is being filled in outlives a refresh, and stays open.
      if (!forms.has(breaker.name)) forms.set(breaker.name, el("details", {}, el("summary", {}, "Override"), overrideForm(breaker.name, load)));
      return section(breaker, forms.get(breaker.name));
    });
    const waits = reply.body.breakers.map((/** @type {any} */ breaker) => new Date(breaker.open_until ?? 0).getTime() - Date.now());
    const next = Math.min(...waits.filter((/** @type {number} */ wait) => wait > 0));
    clearTimeout(probe);
    if (next < 600_000) probe = setTimeout(() => breakers.isConnected && load(), next + 50);
    const focused = document.activeElement;
    show(breakers, places);
    if (focused instanceof HTMLElement && focused.isConnected) focused.focus();
    return show(rest, deferred(reply.body.deferred_payments), policies(reply.body.limits));
  };
  breakers.addEventListener("refresh", load);
  show(main, main.firstChild, el("p", { class: "actions" }, button("Refresh", load)), breakers, rest, quotas);
  load();
}

/** @param {any} breaker @param {Node} override */
function section(breaker, override) {
  const forced = breaker.override;
  const force = forced && [`${forced.state} by ${forced.by}: ${forced.reason}`, forced.in_force ? " (in force" : " (has ended", forced.until ? [", until ", time(forced.until)] : "", ")"].flat();
  return el("section", { class: "panel" }, el("h2", {}, "Circuit breaker ", el("span", { class: "name" }, breaker.name)),
    el("div", { class: "columns" },
      el("div", {}, diagram(breaker.state),
        facts([
          ["State", breaker.state],
          ["Generation", breaker.generation],
          ["Since", time(breaker.since)],
          ["Opened in a row", breaker.opened_in_a_row],
          ["Next probe", breaker.state === "open" && (breaker.open_until ? time(breaker.open_until) : "none while it is forced open")],
          ["Probes", breaker.probes && `${breaker.probes.succeeded} of ${breaker.probes.needed} succeeded`],
          ["Recent calls", breaker.window && `${breaker.window.failures} failed, ${breaker.window.successes} succeeded, in ${breaker.window.seconds} s`],
          ["Last override", force],
        ])),
      override));
}

/** @param {string} name @param {() => void} done */
function overrideForm(name, done) {
  const state = input({ name: "state", label: "State", choices: [["open", "open: let no call through"], ["closed", "closed: let every call through"], ["none", "none: reset it"]], value: "none" });
  const reason = input({ name: "reason", label: "Reason" });
  const until = input({ name: "until", label: "Until", type: "datetime-local", hint: "Local time. Empty: until the next override" });
  const root = form({
    name: `Override the breaker ${name}`,
    submit: "Override",
    keyed: false,
    controls: [state, reason, until],
    request: () => {
      const end = value(until, "until");
      return { method: "PUT", path: `/ops/breakers/${encodeURIComponent(name)}/override`,
        body: { state: value(state, "state"), reason: value(reason, "reason"), until: end ? new Date(end).toISOString() : undefined } };
    },
    done,
  });
  return root;
}

/** @param {any} waiting */
function deferred(waiting) {
  return el("section", { class: "panel" }, el("h2", {}, "Deferred payments"),
    facts([
      ["Waiting", `${waiting.waiting}${waiting.and_more ? " or more" : ""}`],
      ["Oldest", time(waiting.oldest)],
      ["Its age", waiting.oldest_age_seconds !== null && duration(waiting.oldest_age_seconds)],
    ]));
}

/** @param {Record<string, string>} policies */
function policies(policies) {
  const rows = Object.entries(policies).map(([name, policy]) => [name, el("code", {}, policy)]);
  return el("section", { class: "panel" }, el("h2", {}, "Limits"), table("Policies", ["Requests", "Policy"], rows));
}

/** What is left for this caller, from the responses it got. */
function quotaTable() {
  const rows = [...limits].map(([name, quota]) => [name, quota.remaining, quota.limit,
    el("meter", { min: 0, max: quota.limit, value: quota.remaining, low: quota.limit / 5, "aria-label": `${name}: ${quota.remaining} of ${quota.limit}` }),
    duration(quota.window), duration((Date.now() - quota.at) / 1000)]);
  return [el("h2", {}, "Left for this caller"),
    rows.length > 0 ? table("By its last responses", ["Quota", "#Left", "#Of", "", "#Restored in", "#Seen ago"], rows) : el("p", { class: "empty" }, "No response yet.")];
}
