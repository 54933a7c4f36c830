// The test broker itself: hooks, lives, faults, the clock.
import assert from "node:assert/strict";
import { AssertionError } from "node:assert";
import { test } from "node:test";
import { Event, Plugin, Reply } from "trunkline";
import { TestBroker } from "trunkline/testing";

// Proves L14 and LN13 (without freeze), Node part: the hooks, their order, and what they are given.
test("hooks run once for each life; what the start returns is the state, the config is given", async (t) => {
  const plugin = new Plugin("p");
  const said = [];
  plugin.onStart(async (ctx) => {
    assert.equal(ctx.cancelled, false);
    said.push(`start ${ctx.instance} ${ctx.config.word}`);
    assert.throws(() => { ctx.config.word = "changed"; }, TypeError);
    return { login: 7 };
  });
  plugin.onStop((ctx, reason) => {
    assert.equal(ctx.cancelled, true);
    said.push(`stop ${typeof reason}`);
  });
  plugin.on("agent.s", { name: "s" }, (_payload, ctx) => Event.new("agent.state", "p", { ...ctx.state, instance: ctx.instance, word: ctx.config.word }));
  const broker = await TestBroker.start(t, plugin, { config: { word: "w" } });
  await broker.publish("agent.s", {});
  assert.deepEqual((await broker.expectPublished("agent.state")).payload, { login: 7, instance: "default", word: "w" });
  await broker.stop();
  await broker.stop();
  assert.deepEqual(said, ["start default w", "stop string"]);
});

test("instances have their own config and state", async (t) => {
  const plugin = new Plugin("p");
  plugin.onStart((ctx) => ctx.instance);
  plugin.outbound("p", (_payload, ctx) => new Reply({ text: `${ctx.instance} ${ctx.state}` }));
  const broker = await TestBroker.start(t, plugin, { instances: ["one", "two"] });
  for (const instance of ["one", "two"]) {
    await broker.send("p", "x", { to: "c", instance });
    await broker.expectPublished(`plugin.inbound.p.${instance}`, { text: `${instance} ${instance}` });
  }
});

// Proves LN52, core part, Node: kills and faults in node:test.
test("killed after the commit or before it, an event is handled once in effect", async (t) => {
  const plugin = new Plugin("p");
  let handled = 0;
  plugin.outbound("p", (_payload, ctx) => {
    handled += 1;
    return new Reply({ attempt: ctx.delivery.attempt });
  });
  const broker = await TestBroker.start(t, plugin);
  for (const at of ["before_commit", "after_commit", "in_handler"]) {
    broker.kill({ at });
    await broker.send("p", "x", { to: at });
    await broker.expectPublished("plugin.inbound.p.*", undefined, { within: "5m" });
    await broker.expectNothing("plugin.inbound.p.*", undefined, { within: "5m" });
  }
  assert.ok(handled >= 4, `${handled}`);
});

test("a repeated delivery, a lost ack and a lost link publish nothing twice", async (t) => {
  const plugin = new Plugin("p");
  plugin.outbound("p", (payload) => new Reply(payload));
  const broker = await TestBroker.start(t, plugin);
  for (const fault of ["duplicate", "drop_ack", "link_lost"]) {
    broker.fault(fault);
    await broker.send("p", fault, { to: fault });
    await broker.expectPublished("plugin.inbound.p.*", { text: fault }, { within: "5m" });
    await broker.expectNothing("plugin.inbound.p.*", { text: fault }, { within: "5m" });
  }
});

test("a full store is an error with its code, and what was returned is tried again", async (t) => {
  const plugin = new Plugin("p");
  const codes = [];
  plugin.on("agent.f", { name: "f" }, async (_payload, ctx) => {
    await ctx.publish("agent.g", {}).catch((error) => codes.push([error.code, error.retryable]));
  });
  const broker = await TestBroker.start(t, plugin);
  broker.fault("storage_full");
  await broker.publish("agent.f", {});
  await broker.settle();
  assert.deepEqual(codes, [["storage_full", true]]);
});

test("a broker that is started again has what was durable", async (t) => {
  const plugin = new Plugin("p");
  let starts = 0;
  plugin.onStart(() => void (starts += 1));
  plugin.outbound("p", (payload, ctx) => (ctx.delivery.attempt === 1 && payload.text === "later" ? undefined : new Reply(payload)));
  plugin.on("agent.kv", { name: "kv" }, async (_payload, ctx) => Event.new("agent.count", "p", { n: await ctx.kv.update("n", (n = 0) => n + 1) }));
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.kv", {});
  await broker.expectPublished("agent.count", { n: 1 });
  await broker.restart();
  await broker.publish("agent.kv", {});
  await broker.expectPublished("agent.count", { n: 2 }, { within: "1m" });
  assert.equal(starts, 2);
});

test("a failed expectation is a failed assertion that says what came instead", async (t) => {
  const broker = await TestBroker.start(t, new Plugin("p"));
  await broker.publish("agent.a", { n: 1 });
  await assert.rejects(broker.expectPublished("agent.a", { n: 2 }), (error) => {
    assert.ok(error instanceof AssertionError);
    assert.match(error.message, /agent\.a/);
    assert.match(error.stack, /testing\.test\.mjs/);
    return true;
  });
  await assert.rejects(broker.expectNothing("agent.a"), AssertionError);
});

test("many brokers can be in one program", async (t) => {
  const brokers = await Promise.all(
    ["a", "b", "c"].map((id) => {
      const plugin = new Plugin(id);
      plugin.onStart(() => id);
      plugin.outbound(id, (_payload, ctx) => new Reply({ text: ctx.state }));
      return TestBroker.start(t, plugin);
    }),
  );
  await Promise.all(brokers.map((broker, i) => broker.send("abc"[i], "x", { to: "x" })));
  for (const [i, broker] of brokers.entries()) await broker.expectPublished("plugin.inbound.>", { text: "abc"[i] });
});
