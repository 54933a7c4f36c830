// Assemblers: parts in, one event out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Event, Part, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

const INBOUND = "plugin.inbound.sms.*";

function sms() {
  const plugin = new Plugin("sms");
  plugin.on("agent.part", async function part({ text, of }) {
    return new Part(text, of);
  });
  plugin.assemble("sms", { silence: "30s", maxAge: "10m", maxParts: 64 }, async (parts, ctx) => {
    const { missing, reason: why } = ctx.assembly;
    const text = parts.map((part) => part.data).join(missing.length ? "…" : "");
    return Event.inbound({ text, conversation: { id: parts[0].session }, why });
  });
  return plugin;
}

// Proves P6a, Node part: the parts of a message become one event, in order, once.
test("parts become one event", async (t) => {
  const broker = await TestBroker.start(t, sms());
  for (const [seq, text] of [[3, "c"], [1, "a"], [2, "b"]]) {
    const of = { session: "+49", group: "r", seq, total: 3 };
    await broker.publish("agent.part", { text, of }, { session: "+49" });
  }
  const event = await broker.expectPublished(INBOUND, { text: "abc", why: "complete" }, { within: "1s" });
  assert.equal(event.session_id, "+49");
});

// Proves P6b, Node part: what was collected survives the broker.
test("silence ends a whole, over a restart", async (t) => {
  const broker = await TestBroker.start(t, sms());
  for (const seq of [1, 3]) {
    await broker.publish("agent.part", { text: String(seq), of: { session: "+49", group: "r", seq } }, { session: "+49" });
  }
  await broker.settle();
  await broker.restart();
  await broker.expectPublished(INBOUND, { text: "1…3", why: "silence" }, { within: "1m" });
});

test("bad options are refused", async (t) => {
  const plugin = new Plugin("sms");
  plugin.assemble("sms", { maxParts: 500 }, () => {});
  await assert.rejects(TestBroker.start(t, plugin), /1 to 200/);
});
