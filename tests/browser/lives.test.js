/** Orders, driven by clicks. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { PRODUCT, api, close, open, order, start, until } from "./world.js";

const world = await start();
const { chromium, url } = world;
after(() => world.stop());

/** Opens a page, and expects no error and no request to another host. */
async function on(caller, path, act, options) {
  const { page, context, faults } = await open(chromium, url, caller, path, options);
  try {
    await act(page, context);
  } finally {
    await close(context);
  }
  assert.deepEqual(faults, []);
}

const heads = (page) => page.locator(".aside summary").allTextContents();

/** Waits until the order is in that state. */
const becomes = (page, name) => page.locator(`.order > .panel:first-child .status.${name}`).waitFor();

test("an order lives from creation to return by clicks", async () => {
  await on("admin", "", async (page) => {
    const begun = Date.now();
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await becomes(page, "paid");
    assert.ok(Date.now() - begun < 60_000);
    await page.getByRole("button", { name: "Ship", exact: true }).click();
    await becomes(page, "shipped");
    await page.getByRole("button", { name: "Deliver", exact: true }).click();
    await becomes(page, "delivered");
    await page.getByRole("button", { name: "Return", exact: true }).click();
    await becomes(page, "returned");
    await page.locator(".timeline li").nth(5).waitFor();
    const types = await page.locator(".timeline li").evaluateAll((all) => all.map((one) => one.dataset.type));
    assert.deepEqual(types, ["OrderCreated", "OrderPaid", "OrderShipped", "OrderDelivered", "OrderReturned", "OrderRefundDue"]);
    await page.locator(".timeline .money", { hasText: "€39.98 in" }).waitFor();
    await page.getByText("They agree at version 6.").waitFor();
    await page.getByLabel("Version", { exact: true }).fill("2");
    await page.locator(".slider ~ div .status.paid").waitFor();
    assert.deepEqual(await heads(page), []);
  });
});

test("a customer is offered only what a customer may do", async () => {
  const [own, foreign] = [await order(url), await order(url, "grace")];
  await on("customer", `#/orders/${own}`, async (page) => {
    await becomes(page, "pending");
    assert.deepEqual(await page.locator("#nav a").allTextContents(), ["Orders", "Local stack", "API"]);
    assert.deepEqual(await heads(page), ["Pay", "Cancel"]);
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await becomes(page, "paid");
    assert.deepEqual(await heads(page), ["Cancel"]);
    await page.goto(`${url}/#/orders`);
    await page.getByRole("heading", { name: "Orders of ada" }).waitFor();
    assert.equal(await page.getByText("New order").count(), 0);
    assert.equal(await page.getByText("Work queue").count(), 0);
    await page.goto(`${url}/#/orders/${foreign}`);
    await page.locator('[data-problem="not-found"]').getByText("Check the id, or choose another caller").waitFor();
    await page.goto(`${url}/#/sales`);
    await page.getByText("This caller's token does not allow it.").waitFor();
  });
});

test("a command for an order that has changed since is not executed", async () => {
  const id = await order(url);
  await on("admin", `#/orders/${id}`, async (page) => {
    await becomes(page, "pending");
    // What was typed stays while the order changes elsewhere.
    await page.route("**/dev/live", (route) => route.abort());
    await page.reload();
    await becomes(page, "pending");
    await api(url, "storefront", "POST", `/orders/${id}/pay`, { payment_id: `elsewhere-${id}`, amount: 39.98 });
    await page.getByText("Cancel", { exact: true }).first().click();
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.locator('[data-problem="precondition-failed"]').waitFor();
    await page.getByRole("button", { name: "Read it again" }).click();
    await becomes(page, "paid");
  });
});

test("a token that is not accepted is replaced", async () => {
  const id = await order(url);
  const { page, context, faults } = await open(chromium, url, "admin", "#/api");
  let expired = true;
  await page.route("**/dev/stack", async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    if (expired) body.tokens.admin = body.tokens.admin.replace(/\.[^.]*$/, ".AAAA");
    await route.fulfill({ response, json: body });
  });
  await page.reload();
  await page.goto(`${url}/#/orders/${id}`);
  await page.locator('[data-problem="401"]').waitFor();
  expired = false;
  await page.getByRole("button", { name: "Get a new token" }).click();
  await becomes(page, "pending");
  assert.deepEqual(faults, []);
  await close(context);
});

test("an address that is opened while the page starts is read with a token", async () => {
  const id = await order(url);
  await on("admin", "#/api", async (page) => {
    let release = () => {};
    const held = new Promise((resolve) => { release = () => resolve(undefined); });
    await page.route("**/dev/stack", async (route) => { await held; await route.continue(); });
    const tokens = [];
    page.on("request", (request) => { if (request.url().endsWith(`/orders/${id}`)) tokens.push(request.headers().authorization); });
    await page.reload();
    await page.goto(`${url}/#/orders/${id}`);
    // Whatever the new address sends is sent before this.
    await page.evaluate(() => fetch("./config.json").then((response) => response.text()));
    release();
    await becomes(page, "pending");
    assert.ok(tokens.length > 0 && tokens.every(Boolean), `${tokens.length} requests, ${tokens.filter(Boolean).length} with a token`);
  });
});

test("each error of a body is shown at its field", async () => {
  await on("admin", "", async (page) => {
    await page.getByLabel("Unit price").fill("19.999");
    await page.getByLabel("Product").fill("x");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.locator('[data-problem="invalid-request"]').waitFor();
    const invalid = page.locator('[aria-invalid="true"]');
    assert.equal(await invalid.count(), 1);
    assert.notEqual(await page.locator(".field .error:not(:empty)").first().textContent(), "");
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("aria-invalid")), "true");
  });
});

test("a command whose response is lost is repeated with the same key and executed once", async () => {
  const id = await order(url);
  await on("admin", `#/orders/${id}`, async (page) => {
    await becomes(page, "pending");
    await fetch(`${url}/dev/faults`, { method: "POST", body: JSON.stringify({ fault: "lose-response" }) });
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    const box = page.locator('[data-problem="0"]');
    await box.getByText("It is not known whether the change was stored.").waitFor();
    // The form needs its key: it stays when the order is found to have changed.
    await until(page, () => {
      document.querySelector(".refreshes").dispatchEvent(new Event("refresh"));
      return document.body.textContent.includes("The order is paid now");
    });
    await box.getByRole("button", { name: "Repeat with the same key" }).click();
    await becomes(page, "paid");
    await page.getByText("nothing was executed twice").waitFor();
    assert.equal((await api(url, "admin", "GET", `/orders/${id}/events`)).body.events.length, 2);
  });
});

test("a write whose response is lost is found by the command itself", async () => {
  const id = await order(url);
  await on("admin", `#/orders/${id}`, async (page) => {
    await becomes(page, "pending");
    await fetch(`${url}/dev/faults`, { method: "POST", body: JSON.stringify({ fault: "lose-write" }) });
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await becomes(page, "paid");
    assert.equal((await api(url, "admin", "GET", `/orders/${id}/events`)).body.events.length, 2);
  });
});

test("a rejected request is repeated when its wait is over", async () => {
  const id = await order(url);
  await on("admin", `#/orders/${id}`, async (page) => {
    await becomes(page, "pending");
    const keys = [];
    const answers = [
      { status: 429, headers: { "retry-after": "2", "ratelimit-policy": '"change";q=200;w=4', ratelimit: '"change";r=0;t=2' }, kind: "rate-limited", title: "Too many requests" },
      { status: 503, headers: {}, kind: "outcome-unknown", title: "Outcome unknown" },
    ];
    await page.route("**/pay", async (route) => {
      keys.push(route.request().headers()["idempotency-key"]);
      const next = answers.shift();
      if (!next) return route.continue();
      const { status, headers, kind, title } = next;
      const body = JSON.stringify({ type: `urn:orders:problem:${kind}`, title, status, detail: "A detail.", instance: "urn:orders:request:r" });
      return route.fulfill({ status, headers, contentType: "application/problem+json", body });
    });
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    const repeat = page.locator('[data-problem="rate-limited"]').getByRole("button", { name: "Repeat" });
    assert.equal(await repeat.isDisabled(), true);
    await page.locator(".count").getByText(/in [12] s/).waitFor();
    await repeat.click();
    await page.locator('[data-problem="outcome-unknown"]').getByRole("button", { name: "Repeat with the same key" }).click();
    await becomes(page, "paid");
    assert.equal(keys.length, 3);
    assert.equal(new Set(keys).size, 1);
  });
});

test("every response is shown with what to do next", async () => {
  const id = await order(url);
  await on("admin", `#/orders/${id}`, async (page) => {
    await becomes(page, "pending");
    let answer;
    await page.route("**/pay", (route) => route.fulfill(answer));
    const problem = (status, kind, more) => {
      const body = { type: `urn:orders:problem:${kind}`, title: `A title of ${kind}`, status, detail: `A detail of ${kind}.`, instance: "urn:orders:request:r-1", ...more };
      return { status, contentType: "application/problem+json", body: JSON.stringify(body) };
    };
    const gateway = (status, message) => ({ status, contentType: "application/json", body: JSON.stringify({ message }) });
    const cases = [
      [problem(400, "invalid-request", { errors: [{ path: "elsewhere", detail: "is wrong" }] }), "elsewhere is wrong"],
      [gateway(401, "Unauthorized"), "Get a new token"],
      [gateway(403, "Forbidden"), "Choose another caller."],
      [problem(403, "forbidden"), "A detail of forbidden."],
      [problem(404, "not-found"), "Check the id"],
      [problem(409, "order-not-pending", { order_status: "paid" }), "Read it again"],
      [problem(412, "precondition-failed", { version: 7 }), "Read it again"],
      [problem(413, "body-too-large"), "A detail of body-too-large."],
      [problem(415, "unsupported-media-type"), "A detail of unsupported-media-type."],
      [problem(422, "payment-declined"), "A detail of payment-declined."],
      [problem(422, "idempotency-key-reused"), "Use a new key"],
      [gateway(429, "Too Many Requests"), "Repeat"],
      [problem(500, "internal"), "A detail of internal."],
      [gateway(500, null), "Report the request."],
      [{ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" }, "The request was rejected"],
      [gateway(503, "Service Unavailable"), "Repeat with the same key"],
      [problem(503, "contended"), "Repeat with the same key"],
      [problem(503, "payment-unverified"), "Repeat with the same key"],
    ];
    for (const [next, text] of cases) {
      answer = next;
      await page.getByRole("button", { name: "Pay", exact: true }).click();
      const { type, status = next.status } = next.contentType === "text/html" ? {} : JSON.parse(next.body);
      // The box of this response, not of the one before.
      await page.locator(`.command-pay [data-problem="${type?.replace(/^.*:/, "") ?? status}"]`, { hasText: text }).waitFor();
    }
    assert.equal(await page.locator("main h1 h1, .problem h1").count(), 0);
  });
});

test("a parked order is shown as such", async () => {
  const id = await order(url);
  const { page, context } = await open(chromium, url, "admin", "#/api");
  await page.route(new RegExp(`/orders/${id}$`), async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), parked: true } });
  });
  await page.goto(`${url}/#/orders/${id}`);
  await page.getByRole("alert").getByText("This order is parked").waitFor();
  await close(context);
});

test("text of callers appears as text", async () => {
  const attack = "<img/src=x/onerror=document.title='owned'>";
  const reason = `<script>document.title="owned"</script>${attack}`;
  await on("admin", "", async (page, context) => {
    context.on("dialog", () => assert.fail("a dialog"));
    await page.getByLabel("Customer").last().fill(attack);
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await becomes(page, "pending");
    await page.getByLabel("Payment").fill(attack);
    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await becomes(page, "paid");
    await page.getByLabel("Tracking number").fill(attack);
    await page.getByRole("button", { name: "Ship", exact: true }).click();
    await becomes(page, "shipped");
    await page.getByRole("button", { name: "Deliver", exact: true }).click();
    await becomes(page, "delivered");
    await page.getByLabel("Reason").fill(reason);
    await page.getByRole("button", { name: "Return", exact: true }).click();
    await becomes(page, "returned");
    assert.equal(await page.locator(".order .facts").first().getByText(reason).count(), 1);
    await page.getByRole("link", { name: attack }).first().click();
    await page.getByRole("heading", { name: `Orders of ${attack}` }).waitFor();
    await page.locator("td", { hasText: attack }).first().waitFor();
    const cancelled = await order(url);
    await api(url, "admin", "POST", `/orders/${cancelled}/cancel`, { reason });
    await page.goto(`${url}/#/orders/${cancelled}`);
    await page.locator(".facts").getByText(reason).waitFor();
    await page.goto(`${url}/#/resilience`);
    await page.getByText("Override", { exact: true }).first().click();
    await page.getByLabel("Reason").fill(reason);
    await page.getByRole("button", { name: "Override" }).click();
    await page.getByText(reason).waitFor();
    await page.goto(`${url}/#/live?trace=${encodeURIComponent(reason)}`);
    await page.getByText("There are no spans of it.").waitFor();
    await page.goto(`${url}/#/orders/${encodeURIComponent(reason)}`);
    await page.locator("[data-problem]").waitFor();
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.notEqual(await page.title(), "owned");
  });
});

test("a page of a list replaces the page before", async () => {
  const user = `many-${Date.now()}`;
  await Promise.all(Array.from({ length: 45 }, () => order(url, user)));
  const deadline = Date.now() + 30_000;
  while ((await api(url, "admin", "GET", `/users/${user}/orders?limit=100`)).body.orders.length < 45) assert.ok(Date.now() < deadline);
  await on("admin", `#/orders?user=${user}`, async (page) => {
    const count = async () => page.locator("tbody tr").count();
    const ids = new Set();
    for (const expected of [20, 20, 5]) {
      await until(page, (n) => document.querySelectorAll("tbody tr").length === n && !document.querySelector("[aria-busy]"), expected);
      assert.equal(await count(), expected);
      for (const id of await page.locator("tbody a").evaluateAll((all) => all.map((one) => one.title))) ids.add(id);
      if (expected === 20) {
        const address = page.url();
        await page.getByRole("link", { name: "Next page" }).click();
        await page.waitForURL((now) => now.href !== address);
      }
    }
    assert.equal(ids.size, 45);
    assert.equal(await page.getByRole("link", { name: "Next page" }).count(), 0);
  });
});

test("the sales of the day are a chart, a table and a download", async () => {
  const id = (await api(url, "storefront", "POST", "/orders", { user_id: "sales", items: [{ product_id: PRODUCT, quantity: 1, price: 10 }] })).body.order_id;
  await api(url, "admin", "POST", `/orders/${id}/pay`, { payment_id: `sales-${id}`, amount: 10 });
  await on("admin", "#/sales", async (page) => {
    await page.locator(".bar.revenue").first().waitFor({ state: "attached" });
    assert.equal(await page.locator(".bar.revenue").count(), 30);
    await page.getByRole("cell", { name: new Date().toISOString().slice(0, 10) }).waitFor();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
    assert.match(download.suggestedFilename(), /^sales-.*\.csv$/);
  });
});

