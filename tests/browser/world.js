/** A local stack and a browser for the tests. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** A breaker that opens also on a busy machine, whose table does not always respond in time, and that closes soon. */
const BREAKER = "failures=3; ratio=50%; window=60s; slow=1500ms; open=2s; open-max=10s; probes=1; successes=1; lease=10s; ramp=1s";
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--disable-component-update"];

/** Starts a stack on a free port, or uses the one at ORDERS_URL. @returns {Promise<{url: string, stop: () => Promise<void>}>} */
export async function stack(port = 0) {
  if (process.env.ORDERS_URL) return { url: process.env.ORDERS_URL, stop: async () => {} };
  const binaries = process.env.ORDERS_BINARIES ?? `${ROOT}target/debug`;
  const program = process.env.ORDERS_LOCAL ?? `${ROOT}target/debug/orders-local`;
  const child = spawn(program, ["--port", String(port), "--binaries", binaries, "--parameter", `PaymentBreaker=${BREAKER}`], { cwd: ROOT, stdio: ["ignore", "pipe", "ignore"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const url = await new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      const found = /^ {2}API +(\S+)$/m.exec(text);
      if (found) resolve(found[1]);
    });
    exited.then(() => reject(new Error("the local stack did not start")));
  });
  return { url, stop: async () => { child.kill("SIGINT"); await exited; } };
}

export function browser() {
  const executablePath = process.env.CHROMIUM ?? CHROMIUM.find((path) => existsSync(path));
  return chromium.launch({ executablePath, headless: true, args: QUIET });
}

/** A browser and a stack, which a test may replace, for the tests of a file. */
export async function start() {
  const chromium = await browser();
  const local = await stack();
  const world = { chromium, local, url: local.url, stop: async () => { await chromium.close(); await world.local.stop(); } };
  return world;
}

/**
 * A page of its own context. `faults` collects what must not happen: errors in the browser's console, and requests to other hosts.
 * @param {import("playwright-core").Browser} browser @param {string} url @param {string} caller
 */
export async function open(browser, url, caller, path = "", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  await context.addInitScript((name) => localStorage.getItem("orders.caller") ?? localStorage.setItem("orders.caller", name), caller);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults = [];
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // The browser itself logs every response of 400 and above; the page shows them.
    if (["error", "warning"].includes(message.type()) && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host && !request.url().startsWith("blob:")) faults.push(`request to ${request.url()}`);
  });
  await page.goto(`${url}/${path}`);
  await page.locator("#callers").waitFor();
  return { page, context, faults };
}

/** Closes a context, whose routes may still wait for a response. @param {import("playwright-core").BrowserContext} context */
export async function close(context) {
  await Promise.all(context.pages().map((page) => page.unrouteAll({ behavior: "ignoreErrors" })));
  await context.close();
}

/** A command of the API, without the page. @param {string} url */
export async function api(url, caller, method, path, body) {
  const token = await (await fetch(`${url}/dev/tokens/${caller}`)).text();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

export const PRODUCT = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11";

/** The id of a new order of ada's. */
export async function order(url, user = "ada") {
  const created = await api(url, "storefront", "POST", "/orders", { user_id: user, items: [{ product_id: PRODUCT, quantity: 2, price: 19.99 }] });
  return created.body.order_id;
}

/** Waits until the function is true in the page. (`waitForFunction` needs `eval`, which the page forbids.) */
export async function until(page, condition, argument) {
  const deadline = Date.now() + 15_000;
  while (!(await page.evaluate(condition, argument))) {
    if (Date.now() > deadline) throw new Error(`not true in time: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
