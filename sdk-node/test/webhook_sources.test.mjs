// Webhooks that the manifest says everything about: parts and receipts without a handler.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Event, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

const manifest = (webhook) => `
channels = [{ kind = "sms", features = { text_chars_max = 1600 } }]
webhooks = [${webhook}]
[plugin]
id = "sms"
version = "0.1.0"
command = ["./sms"]
[config]
webhook_secret = { type = "string", secret = true }
auth_token = { type = "string", secret = true }
sid = { type = "string" }
from = { type = "string" }
`;
const parts = `{ kind = "sms", verify = "standard", secret = "{config.webhook_secret}",
part = { session = "/from", group = "/ref", seq = "/part", total = "/parts", data = "/text" } }`;
const receipts = `{ kind = "sms", name = "status", verify = "twilio", secret = "{config.auth_token}",
receipt = { provider_id = "/MessageSid", state = "/MessageStatus", states = { undelivered = "failed" } } }`;
const config = {
  webhook_secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  auth_token: "12345",
  sid: "AC1",
  from: "+491",
};

// Proves P6a, declared, Node part: a webhook of the manifest is a source of the assembler.
test("a declared webhook brings the parts of a message", async (t) => {
  const plugin = new Plugin("sms");
  plugin.assemble("sms", { silence: "30s", maxAge: "10m", maxParts: 64 }, async (parts, ctx) => {
    const text = parts.map((p) => p.data).join(ctx.assembly.missing.length ? "…" : "");
    return Event.inbound({ text, conversation: { id: parts[0].session, kind: "sms" } });
  });
  const broker = await TestBroker.start(t, plugin, { manifest: manifest(parts), config });
  for (const [part, text] of [[3, "c"], [1, "a"], [2, "b"]]) {
    await broker.webhook("sms", { json: { from: "+49", ref: "r", part, parts: 3, text } });
  }
  await broker.expectPublished("plugin.inbound.sms.*", { text: "abc" }, { within: "1s" });
  await broker.webhook("sms", { json: { text: "of nobody" } });
  const [letter] = await broker.deadLetters();
  assert.match(JSON.stringify(letter), /at \/from, found nothing/);
});

// Proves P7a, declared, Node part: a webhook of the manifest tells later states.
test("a status callback becomes a receipt", async (t) => {
  const plugin = new Plugin("sms");
  plugin.outbound("sms", { rate: "100/s", ratePerTarget: "1/s", timeout: "15s" }, async (msg, ctx) => {
    const api = ctx.http.at("https://api.twilio.com/2010-04-01/Accounts/{config.sid}", { basic: ["{config.sid}", "{config.auth_token}"] });
    const form = { To: msg.conversation.id, From: ctx.config.from, Body: msg.text, StatusCallback: ctx.hookUrl("status") };
    return String((await api.post("/Messages.json", { form })).json().sid);
  });
  const broker = await TestBroker.start(t, plugin, { manifest: manifest(receipts), config });
  const calls = broker.http("https://api.twilio.com").on("POST", "*/Messages.json").reply(201, { json: { sid: "SM1" } });
  const sending = await broker.send("sms", "hi", { to: "+4915112345" });
  await broker.webhook("sms", { name: "status", form: { MessageSid: "SM1", MessageStatus: "undelivered" } });
  const receipt = await broker.expectPublished("plugin.delivery.sms.*", { state: "failed" }, { within: "2s" });
  assert.equal(receipt.correlation_id, sending.id);
  assert.match(calls.requests[0].form.StatusCallback, /\/hooks\/sms\/default\/status$/);
});
