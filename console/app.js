/** The page: its views by address, the caller, and whether the API can be reached. */

import { forgetLimits, signals } from "./api.js";
import { describeApi } from "./describe.js";
import { announce, el, show } from "./dom.js";
import { refreshOnEvents } from "./feed.js";
import { liveView } from "./live.js";
import { orderView } from "./order.js";
import { ordersView } from "./orders.js";
import { resilienceView } from "./resilience.js";
import { route } from "./route.js";
import { salesView } from "./sales.js";
import { choose, may, renew, scopes, session, start } from "./session.js";

/** @typedef {{name: string, offered: () => boolean, show: (main: HTMLElement, parts: string[], query: URLSearchParams) => void, follows?: boolean}} View */

/** @type {Record<string, View>} */
const VIEWS = {
  orders: { name: "Orders", offered: () => true, follows: true, show: (main, [, id], query) => (id ? orderView(main, id) : ordersView(main, query)) },
  resilience: { name: "Resilience", offered: () => may(), follows: true, show: (main) => resilienceView(main) },
  sales: { name: "Sales", offered: () => may(), show: (main, _, query) => salesView(main, query) },
  live: { name: "Local stack", offered: () => session.config.local, show: (main, _, query) => liveView(main, query) },
  api: { name: "API", offered: () => session.config.local, show: (main) => describeApi(main) },
};

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const away = /** @type {HTMLElement} */ (document.getElementById("away"));

function render() {
  const { parts, query } = route();
  const name = Object.hasOwn(VIEWS, parts[0]) ? parts[0] : "orders";
  const view = VIEWS[name];
  const links = Object.entries(VIEWS).filter(([, one]) => one.offered());
  show(/** @type {Element} */ (document.getElementById("nav")), links.map(([path, one]) => el("a", { href: `#/${path}`, "aria-current": path === name && "page" }, one.name)));
  if (view.offered()) {
    view.show(main, parts, query);
    if (view.follows && session.config.local) refreshOnEvents(main);
  } else {
    show(main, el("h1", { tabindex: -1 }, view.name), el("p", {}, "This caller's token does not allow it. Choose another caller."));
  }
  document.title = `${main.querySelector("h1")?.textContent ?? "Orders"} – Orders`;
}

/** The menu of ready callers. */
function showCallers() {
  const select = el("select", { id: "callers", change: (/** @type {Event} */ event) => {
    choose(/** @type {HTMLSelectElement} */ (event.target).value);
    forgetLimits();
    showCallers();
    /** @type {HTMLElement | null} */ (document.getElementById("callers"))?.focus();
    announce(`Caller: ${session.caller?.name}`);
    render();
  } }, session.callers.map(({ name, sub }) => el("option", { value: name, selected: name === session.caller?.name }, name === sub ? name : `${name} (${sub})`)));
  show(/** @type {Element} */ (document.getElementById("caller")), el("label", { for: "callers" }, "Caller "), select,
    el("span", { class: "quiet scopes" }, ` ${scopes().join(", ")}`));
}

/** @param {string} text */
function showAway(text) {
  away.hidden = text === "";
  show(away, text);
}

signals.addEventListener("away", () => showAway("The API cannot be reached. The page tries again by itself."));
signals.addEventListener("back", async () => {
  // A local stack that was restarted has other keys.
  if (session.config.local) await renew().catch(() => undefined);
  showAway("");
  announce("The API can be reached again");
  // Forms keep what was typed; what was read is read again.
  const parts = main.querySelectorAll(".refreshes");
  const typing = main.contains(document.activeElement) && document.activeElement?.closest("form.command");
  const unsure = main.querySelector(".outcome .problem");
  if (!typing && !unsure) for (const part of parts) part.dispatchEvent(new Event("refresh"));
});

/** Another address was opened. */
function move() {
  render();
  /** @type {HTMLElement | null} */ (main.querySelector("h1"))?.focus();
}

/** Starts, as soon as the configuration can be read. */
async function begin() {
  try {
    await start();
  } catch {
    showAway("The service cannot be reached. The page tries again by itself.");
    setTimeout(begin, 1000);
    return;
  }
  showAway("");
  showCallers();
  if (location.hash === "") history.replaceState(null, "", "#/orders");
  render();
  // Before, there is no caller to read for.
  addEventListener("hashchange", move);
}

begin();
