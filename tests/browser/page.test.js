/** The page itself: accessibility, keyboard, size and speed. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { api, close, open, order, start, until } from "./world.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const world = await start();
const { chromium, url } = world;
after(() => world.stop());

let id;
before(async () => {
  id = await order(url);
  await api(url, "admin", "POST", `/orders/${id}/pay`, { payment_id: `p-${id}`, amount: 39.98 });
  await api(url, "admin", "POST", `/orders/${await order(url)}/cancel`, { reason: "Changed my mind" });
});

const views = () => ["#/orders", "#/orders?user=ada", `#/orders/${id}`, `#/orders/${id}x`, "#/resilience", "#/sales", "#/live", `#/live?trace=${id}`, "#/api"];

for (const colorScheme of ["light", "dark"]) {
  test(`no view has a serious finding of axe, ${colorScheme}`, async () => {
    const findings = [];
    for (const view of views()) {
      const { page, context, faults } = await open(chromium, url, "admin", view, { colorScheme, bypassCSP: true });
      await settled(page);
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      findings.push(...serious.map(({ id: rule, nodes }) => `${view}: ${rule} ${nodes.map(({ html }) => html).slice(0, 3)}`), ...faults);
      await close(context);
    }
    assert.deepEqual(findings, []);
  });
}

test("no view is wider than a narrow screen", async () => {
  for (const view of views()) {
    const { page, context } = await open(chromium, url, "admin", view, { viewport: { width: 360, height: 740 } });
    await settled(page);
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(excess <= 0, `${view}: ${excess} px`);
    await close(context);
  }
});

test("the page is used with the keyboard alone", async () => {
  const { page, context } = await open(chromium, url, "admin", "");
  await page.getByText("Work queue").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
  await page.getByRole("link", { name: "Resilience" }).focus();
  await page.keyboard.press("Enter");
  await page.locator("h1", { hasText: "Resilience" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1");
  assert.equal(await page.title(), "Resilience – Orders");
  await page.goto(`${url}/#/orders`);
  await page.getByLabel("Unit price").focus();
  await page.keyboard.press("Enter");
  await page.locator("h1", { hasText: "Order " }).waitFor();
  await close(context);
});

test("the page is small and painted soon, without another host", async () => {
  const { page, context, faults } = await open(chromium, url, "admin", "");
  const paints = [];
  for (let round = 0; round < 5; round += 1) {
    await page.reload();
    await page.getByText("Work queue").waitFor();
    paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
  }
  const sizes = await page.evaluate(() => performance.getEntriesByType("resource").reduce((sum, one) => sum + one.decodedBodySize, 0));
  console.log(`first paint after ${Math.round(Math.min(...paints))} ms, ${sizes} bytes`);
  assert.ok(Math.min(...paints) < 300, `${paints}`);
  assert.ok(sizes < 150 * 1024, `${sizes} bytes`);
  const response = await page.request.get(url);
  assert.match(response.headers()["content-security-policy"], /^default-src 'self';/);
  assert.deepEqual(faults, []);
  await close(context);
});

async function settled(page) {
  await until(page, () => document.querySelector("main h1") && !document.querySelector("[aria-busy]") && !/Loading…|Comparing…/.test(document.body.textContent));
}
