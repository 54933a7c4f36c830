// JSON values, exact in both directions.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Event, Plugin, Reply, TrunklineError } from "trunkline";
import { TestBroker } from "trunkline/testing";

const VALUES = [
  {}, [], null, true, false, "", "text", 0, -1, 1.5, 1e300, 9007199254740991, -9007199254740991,
  9007199254740993n, -9007199254740993n, 18446744073709551615n, 123456789012345678901234567890n,
  { a: {}, b: [], c: null, d: [[], {}, null] }, [9007199254740993n, { x: -9007199254740995n }], "ünï🎉\u2028\u0007",
  "\0", "\0n5", "\0\0x", { deep: { deeper: ["\0n12345678901234567890", 12345678901234567890n] } }, 0.1234567890123456789, "12345678901234567890",
];

// Proves W4, Node part: integers beyond 2^53, {} and [], null, strings and nested unicode come back as they were.
test("every value comes back as it was, through a payload, a reply, the keyed state and a returned event", async (t) => {
  const plugin = new Plugin("p");
  const seen = [];
  plugin.outbound("p", async (payload, ctx) => {
    seen.push(payload.value);
    await ctx.kv.put("k", payload.value);
    const kept = await ctx.kv.get("k", "nothing");
    return new Reply({ value: payload.value, kept });
  });
  plugin.on("agent.v", { name: "v" }, (payload) => Event.new("agent.made", "p", { value: payload.value }));
  const broker = await TestBroker.start(t, plugin);
  for (const value of VALUES) {
    await broker.publish("plugin.outbound.p.default", { value });
    const reply = await broker.expectPublished("plugin.inbound.p.default");
    assert.deepEqual(seen.at(-1), value);
    assert.deepEqual(reply.payload.value, value);
    assert.deepEqual(reply.payload.kept, value);
    await broker.publish("agent.v", { value });
    assert.deepEqual((await broker.expectPublished("agent.made")).payload.value, value);
  }
});

test("a payload may be any JSON value", async (t) => {
  const plugin = new Plugin("p");
  plugin.on("agent.v", { name: "v" }, (payload, ctx) => Event.new("agent.made", "p", payload, { id: `made-${ctx.event.id}` }));
  const broker = await TestBroker.start(t, plugin);
  for (const value of [null, 7, "x", [], {}, true, 9007199254740993n]) {
    await broker.publish("agent.v", value);
    assert.deepEqual((await broker.expectPublished("agent.made")).payload, value);
  }
  await broker.publish("agent.v", undefined);
  assert.deepEqual((await broker.expectPublished("agent.made")).payload, null);
});

// Proves W5, Node part: what has no JSON form raises in the caller, and nothing reaches the wire.
test("NaN, infinities, circles and lone surrogates are refused where they are said", async (t) => {
  const circle = {};
  circle.circle = circle;
  const bad = [NaN, Infinity, -Infinity, { a: [1, NaN] }, { toJSON: () => NaN }, "\ud800", { a: "x\udc00" }, circle, [5n, NaN]];
  const plugin = new Plugin("p");
  const codes = [];
  plugin.on("agent.v", { name: "v" }, async (_payload, ctx) => {
    for (const value of bad) {
      await assert.rejects(ctx.publish("agent.made", { value }), (error) => {
        codes.push(error.code);
        assert.ok(error instanceof TrunklineError);
        assert.match(error.message, /^a payload must be valid JSON: /);
        return true;
      });
      await assert.rejects(ctx.kv.put("k", value), { code: "invalid_payload" });
    }
  });
  plugin.on("agent.r", { name: "r", retry: { failures_max: 1 } }, () => Event.new("agent.made", "p", { value: NaN }));
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.v", {});
  await broker.publish("agent.r", {});
  await broker.expectNothing("agent.made", undefined, { within: "1m" });
  assert.deepEqual(codes, bad.map(() => "invalid_payload"));
  const letters = JSON.stringify(await broker.deadLetters());
  assert.match(letters, /a payload must be valid JSON/);
});

test("the payload's bytes are those that came", async (t) => {
  const plugin = new Plugin("p");
  const seen = [];
  let kept;
  plugin.on("agent.v", { name: "v" }, (payload, ctx) => {
    seen.push([ctx.event.raw.toString(), payload, Buffer.isBuffer(ctx.event.raw)]);
    kept = ctx.event;
  });
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.v", { a: 12345678901234567890n, b: "é" });
  await broker.settle();
  assert.deepEqual(seen, [['{"a":12345678901234567890,"b":"é"}', { a: 12345678901234567890n, b: "é" }, true]]);
  assert.throws(() => kept.raw, { code: "stale_lease" });
});

test("a date is a text, what is undefined is left out, a function too", async (t) => {
  const plugin = new Plugin("p");
  plugin.on("agent.v", { name: "v" }, () => {});
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.d", { at: new Date(0), no: undefined, f() {}, list: [undefined] });
  assert.deepEqual((await broker.expectPublished("agent.d")).payload, { at: "1970-01-01T00:00:00.000Z", list: [null] });
});
