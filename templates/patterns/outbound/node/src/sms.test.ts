import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./sms.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const config = { sid: "AC1", auth_token: "t0ken", from: "+15005550006" };
const receipts = "plugin.delivery.sms.*";

test("429 is waited for, and the receipt follows", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const route = broker.http("https://api.twilio.com").on("POST", "*/AC1/Messages.json");
  route.reply(429, { headers: { "retry-after": "3" } }).reply(201, { json: { sid: "SM1" } });
  const sending = await broker.send("sms", "hi", { to: "+15005550009" });
  await broker.expectNothing(receipts, { state: "sent" }, { within: "2s" });
  const receipt = await broker.expectPublished(receipts, { state: "sent" }, { within: "2s" });
  assert.equal(receipt.correlation_id, sending.id);
  assert.equal(receipt.payload.provider_id, "SM1");
  const sent = { To: "+15005550009", From: "+15005550006", Body: "hi" };
  assert.deepEqual(route.requests.map((request) => ({ ...request.form })), [sent, sent]);
});
