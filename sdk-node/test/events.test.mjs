// Envelopes and drafts.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { Event, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

// Proves W14, Node part: ids, times and metadata are visible under their wire names.
test("a handler sees the envelope under its wire names", async (t) => {
  const plugin = new Plugin("p");
  const seen = [];
  plugin.on("agent.e", { name: "e" }, (_payload, ctx) => void seen.push(ctx.event));
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.e", { a: 1 }, { id: "e-1", session: "s", correlation: "c", metadata: { m: { n: 1 } }, expires: "1h" });
  await broker.settle();
  const [event] = seen;
  assert.equal(event.id, "e-1");
  assert.equal(event.topic, "agent.e");
  assert.equal(event.session_id, "s");
  assert.equal(event.session_key, "/s");
  assert.equal(event.correlation_id, "c");
  assert.deepEqual(event.metadata, { m: { n: 1 } });
  assert.match(event.timestamp, /^2026-01-01T/);
  assert.match(event.expires_at, /^\d{4}-\d{2}-\d{2}T/);
  assert.match(event.source, /^client:/);
});

test("the session key of an event is that of the contract", (t) => {
  const vectors = new URL("./support/session_keys.json", import.meta.url);
  if (!existsSync(vectors)) return t.skip("run by check.sh");
  const cases = JSON.parse(readFileSync(vectors, "utf8"));
  assert.ok(cases.length > 5);
  for (const { topic, session_id, session_key } of cases) {
    const event = Event.new(topic, "x", null, { session: session_id ?? undefined });
    assert.equal(event.session_key ?? null, session_key, topic);
  }
});

test("a draft shows what it will be", () => {
  const event = Event.new("agent.a", "me", { n: 1 }, { id: "i", session: "s" });
  assert.deepEqual([event.id, event.topic, event.source, event.session_id, event.payload], ["i", "agent.a", "me", "s", { n: 1 }]);
  assert.equal(event.raw.toString(), '{"n":1}');
  assert.equal(Event.inbound("x").topic, "");
});
