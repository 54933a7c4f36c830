import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./invoices.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const config = { api_key: "sk_test_1" };

test("a call is an invoice at Stripe", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const route = broker.http("https://api.stripe.com").on("POST", "/v1/invoices");
  route.reply(200, { json: { id: "in_1", status: "draft" } });
  const args = { customer: "cus_9", days_until_due: 14 };
  const made = await broker.callTool("{{name}}.create_invoice", args);
  assert.deepEqual(made, { id: "in_1", status: "draft" });
  assert.deepEqual(route.requests[0]?.form, { customer: "cus_9", days_until_due: "14" });
  assert.equal(route.requests[0]?.headers["authorization"], "Bearer sk_test_1");
  const refused = broker.callTool("{{name}}.create_invoice", { ...args, days_until_due: 91 });
  await assert.rejects(async () => await refused, { code: "invalid_arguments" });
});
