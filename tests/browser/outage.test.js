/** The payment provider, the API and the local stack fail and recover, in sight of the page. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { api, close, open, order, stack, start } from "./world.js";

const world = await start();
const { chromium, url } = world;
after(() => world.stop());

test("an outage of the payment provider is seen from the first failure to the last settled payment", async () => {
  const { page, context, faults } = await open(chromium, url, "admin", "#/live");
  await page.locator('[data-mode="down"]').click();
  await page.locator('[data-mode="down"][aria-pressed="true"]').waitFor();
  const ids = [await order(url)];
  await page.goto(`${url}/#/orders/${ids[0]}`);
  await page.getByRole("button", { name: "Pay", exact: true }).click();
  await page.getByText("the payment is accepted unverified and will be settled").waitFor();
  await page.locator("dt", { hasText: "Waits for settlement" }).first().waitFor();

  const operations = async () => (await api(url, "admin", "GET", "/ops/status")).body;
  const deadline = Date.now() + 120_000;
  // On a busy machine the breaker's table does not respond in time, and failures count in their container only.
  while ((await operations()).breakers[0].state === "closed") {
    assert.ok(Date.now() < deadline, "the breaker does not open");
    const more = await Promise.all(Array.from({ length: 6 }, () => order(url)));
    await Promise.all(more.map((id) => api(url, "admin", "POST", `/orders/${id}/pay`, { payment_id: `p-${id}`, amount: 39.98 })));
    ids.push(...more);
  }
  await page.goto(`${url}/#/resilience`);
  await page.locator(".node.current", { hasText: /● (open|half-open)/ }).waitFor();
  await page.locator("dt", { hasText: "Its age" }).waitFor();

  await page.goto(`${url}/#/live`);
  await page.locator('[data-mode="ok"]').click();
  await page.locator('[data-mode="ok"][aria-pressed="true"]').waitFor();
  for (let now = await operations(); now.breakers[0].state !== "closed" || now.deferred_payments.waiting > 0; now = await operations()) {
    assert.ok(Date.now() < deadline + 120_000, "payments still wait");
    await page.getByLabel("Schedule").selectOption("settle-payments");
    await page.getByRole("button", { name: "Run it now" }).click();
    // A call to the provider is what closes a breaker.
    if (now.breakers[0].state !== "closed") {
      const id = await order(url);
      await api(url, "admin", "POST", `/orders/${id}/pay`, { payment_id: `p-${id}`, amount: 39.98 });
    }
    await page.waitForTimeout(1_000);
  }
  await page.goto(`${url}/#/resilience`);
  await page.locator(".node.current", { hasText: "● closed" }).waitFor();
  await page.locator("dd", { hasText: /^0$/ }).first().waitFor();
  await page.goto(`${url}/#/orders/${ids[1]}`);
  await page.locator(".timeline li[data-type=OrderPaymentDeferred]").waitFor();
  await page.locator(".timeline li[data-type=OrderPaid]").waitFor();
  assert.deepEqual(faults, []);
  await close(context);
});

test("events, log lines, positions and one trace are shown as they happen", async () => {
  const { page, context, faults } = await open(chromium, url, "admin", "#/live");
  const id = await order(url);
  await page.locator(".feed li", { hasText: id.slice(0, 8) }).first().waitFor();
  await page.locator("table", { hasText: "ProjectOrders" }).waitFor();
  await page.locator(".log li").first().waitFor();
  await page.goto(`${url}/#/live?trace=${id}`);
  await page.locator(".tree li", { hasText: "PutItem" }).first().waitFor();
  await page.getByLabel("Function").selectOption("get-order");
  await page.getByRole("button", { name: "Kill its containers" }).click();
  await page.getByText("The processes of get-order are killed").waitFor();
  await page.goto(`${url}/#/orders/${id}`);
  await page.locator(".order .status.pending").first().waitFor();
  assert.deepEqual(faults, []);
  await close(context);
});

test("a throttled table is reported, and the command is repeated with its key", async () => {
  const id = await order(url);
  const { page, context } = await open(chromium, url, "admin", `#/orders/${id}`);
  await page.locator(".order .status.pending").first().waitFor();
  await fetch(`${url}/dev/faults`, { method: "POST", body: JSON.stringify({ fault: "throttle", seconds: 6 }) });
  await page.getByRole("button", { name: "Pay", exact: true }).click();
  const box = page.locator('.command-pay [data-problem="unavailable"]');
  await box.waitFor({ timeout: 30_000 });
  await page.waitForTimeout(6_000);
  await box.getByRole("button", { name: /^Repeat/ }).click();
  await page.locator(".order .status.paid").first().waitFor({ timeout: 30_000 });
  await close(context);
});

test("the page says that the API is away, and recovers by itself", async (t) => {
  if (process.env.ORDERS_URL) return t.skip("needs a stack of its own");
  const { page, context } = await open(chromium, url, "admin", "");
  await world.local.stop();
  await page.getByRole("link", { name: "shipped" }).click();
  await page.locator("#away").getByText("The API cannot be reached.").waitFor();
  world.local = await stack(new URL(url).port);
  await page.locator("#away").waitFor({ state: "hidden", timeout: 30_000 });
  await page.getByText("There are none.").waitFor();
  // The restarted stack has other keys; the page has fetched its new token.
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.locator(".order .status.pending").first().waitFor();
  return close(context);
});
