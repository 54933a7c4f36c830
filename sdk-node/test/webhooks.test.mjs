// Webhooks of a plugin: what a provider sends becomes events.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Batch, Event, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

const config = { secret: "s" };
const signed = { verify: "github", secret: "{config.secret}" };

// Proves P2f, Node part: a verified request becomes one event, several, or none.
test("a request becomes one event, several, or none", async (t) => {
  const plugin = new Plugin("chat");
  plugin.webhook("chat", signed, async (request) => {
    assert.equal(request.method, "POST");
    if (request.headers["x-event"] !== "messages") return;
    const { from: id, texts } = request.json();
    return texts.map((text) => Event.inbound({ text, conversation: { id } }));
  });
  const broker = await TestBroker.start(t, plugin, { config });
  const request = { id: "d1", headers: { "X-Event": "messages" }, json: { from: "c1", texts: ["a", "b"] } };
  await broker.webhook("chat", request);
  for (const text of ["a", "b"]) {
    const event = await broker.expectPublished("plugin.inbound.chat.*", { text }, { within: "1s" });
    assert.equal(event.session_id, "c1");
  }
  assert.equal((await broker.webhook("chat", request)).duplicate, true);
  await broker.webhook("chat", { json: {} });
  await broker.settle();
  await broker.expectNothing("plugin.inbound.>", undefined, { within: "1m" });
  assert.deepEqual(await broker.deadLetters(), []);
});

test("a name picks the handler, and bytes stay bytes", async (t) => {
  const plugin = new Plugin("chat");
  plugin.webhook("chat", { ...signed, name: "raw" }, ({ body }) => {
    return new Batch([Event.inbound({ text: String(body.length) })], { ack: { status: 204 } });
  });
  plugin.webhook("chat", signed, ({ text }) => Event.inbound({ text }));
  const broker = await TestBroker.start(t, plugin, { config });
  await broker.webhook("chat", { name: "raw", body: Buffer.from([255, 0]) });
  await broker.expectPublished("plugin.inbound.>", { text: "2" }, { within: "1s" });
  await broker.webhook("chat", { body: "x" });
  await broker.expectPublished("plugin.inbound.>", { text: "x" }, { within: "1s" });
  await broker.webhook("chat", { body: Buffer.from([255]) });
  await broker.settle();
  assert.equal((await broker.deadLetters()).length, 1);
});

test("what no engine follows is an invalid return", async (t) => {
  const plugin = new Plugin("chat");
  plugin.webhook("chat", signed, () => new Batch([], { cursor: null }));
  const broker = await TestBroker.start(t, plugin, { config });
  await broker.webhook("chat", { json: {} });
  await assert.rejects(broker.expectPublished("plugin.inbound.>", undefined, { within: "1s" }), /a cursor/);
});

test("an option that is none, and a scheme that is none, are refused", async (t) => {
  const plugin = new Plugin("chat");
  assert.throws(() => plugin.webhook("chat", { verfy: "github" }, () => {}), /verify/);
  plugin.webhook("chat", { ...signed, verify: "gitlob" }, () => {});
  await assert.rejects(TestBroker.start(t, plugin), /github/);
});
