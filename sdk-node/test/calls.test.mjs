// What contexts and clients can ask for: publishing, keyed state, locks, sending, subscriptions.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Batch, Client, Event, Plugin, Reply, TrunklineError } from "trunkline";
import { TestBroker } from "trunkline/testing";

/** Runs a function as a handler, and gives what it gave or threw. */
async function within(t, run, { prepare = () => {}, ...options } = {}) {
  const plugin = new Plugin("p");
  let settle;
  const settled = new Promise((resolve, reject) => (settle = { resolve, reject }));
  plugin.on("agent.run", { name: "run", timeout: "50s" }, (payload, ctx) => Promise.resolve(run(ctx, broker)).then(settle.resolve, settle.reject));
  plugin.outbound("p", (payload) => new Reply(payload));
  prepare(plugin);
  const broker = await TestBroker.start(t, plugin, options);
  await broker.publish("agent.run", {}, { session: "conversation" });
  return settled;
}

test("a publish says its seq, whether it was a repeat, and whom it reached", async (t) => {
  await within(t, async (ctx) => {
    const first = await ctx.publish("agent.x", { n: 1 }, { id: "one" });
    assert.ok(first.seq > 0);
    assert.equal(first.duplicate, false);
    const again = await ctx.publish("agent.x", { n: 1 }, { id: "one" });
    assert.deepEqual({ seq: again.seq, duplicate: again.duplicate }, { seq: first.seq, duplicate: true });
    const ephemeral = await ctx.publish("agent.x", {}, { ephemeral: true });
    assert.equal(ephemeral.seq, null);
    await assert.rejects(ctx.publish("agent.x", { n: 2 }, { id: "one" }), (error) => {
      assert.ok(error instanceof TrunklineError);
      assert.equal(error.code, "id_conflict");
      return true;
    });
    await assert.rejects(ctx.publish("agent..x", {}), { code: "invalid_topic" });
    await assert.rejects(ctx.publish("agent.x", {}, { nothing: 1 }), { code: "invalid_arguments" });
    await assert.rejects(ctx.publish("agent.x", {}, { expires: 5 }), { code: "invalid_arguments" });
  });
});

test("an emitted batch is one commit: all of it or nothing", async (t) => {
  await within(t, async (ctx, broker) => {
    const done = await ctx.emit(Event.new("agent.e", "p", { n: 1 }), Event.new("agent.e", "p", { n: 2 }));
    assert.equal(done.events.length, 2);
    const batch = new Batch([Event.new("agent.e", "p", { n: 3 })], { kv: [{ op: "put", key: "k", value: 5, ttl: "1h" }] });
    const { revisions } = await ctx.emit(batch);
    assert.equal(revisions.length, 1);
    assert.equal(await ctx.kv.get("k"), 5);
    const refused = new Batch([Event.new("agent.e", "p", { n: 4 })], { kv: [{ op: "put", key: "k", value: 6, ifRevision: 12345 }] });
    await assert.rejects(ctx.emit(refused), { code: "revision_conflict" });
    assert.equal(await ctx.kv.get("k"), 5);
    await broker.expectPublished("agent.e", { n: 3 });
    await broker.expectNothing("agent.e", { n: 4 }, { within: "1s" });
    await ctx.reply("pong").catch((error) => assert.equal(error.code, "invalid_arguments"));
  });
});

// Proves LN33, Node part: a missing key is a typed error where it must be there; several puts are one commit; bytes are
// values; the quota is checked before a write, and what the link cannot carry is refused at once.
// Proves P6c, Node part: several keys are read by one call.
test("a store says what is missing and what is too much", async (t) => {
  await within(t, async (ctx) => {
    const { kv } = ctx;
    await assert.rejects(kv.require("never"), { code: "not_found" });
    const both = [{ op: "put", key: "a/1", value: 1 }, { op: "put", key: "a/2", value: { n: 2n ** 60n } }];
    assert.equal((await ctx.emit(new Batch([], { kv: both }))).revisions.length, 2);
    const one = [{ op: "put", key: "a/3", value: 3 }, { op: "put", key: "a/1", value: 9, ifRevision: 0 }];
    await assert.rejects(ctx.emit(new Batch([], { kv: one })), { code: "revision_conflict" });
    const found = await kv.getMany(["a/1", "a/2", "a/3"]);
    assert.deepEqual([...found], [["a/1", 1], ["a/2", { n: 2n ** 60n }]]);
    assert.equal(await kv.require("a/1"), 1);
    await kv.putBytes("raw", Uint8Array.of(0, 159, 255), { ttl: "1h" });
    assert.deepEqual([...(await kv.getBytes("raw"))], [0, 159, 255]);
    assert.equal(await kv.getBytes("never"), undefined);
    await assert.rejects(kv.getBytes("a/1"), { code: "invalid_payload" });
    await kv.plugin.put("a/1", "of the plugin");
    await kv.workspace.put("a/1", "of all");
    assert.deepEqual([await kv.plugin.require("a/1"), await kv.workspace.require("a/1"), await kv.require("a/1")], ["of the plugin", "of all", 1]);
    for (const size of [300 << 10, 2 << 20]) {
      const large = "x".repeat(size);
      await assert.rejects(kv.put("large", large), { code: "quota_exceeded" });
      const batch = [{ op: "put", key: "small", value: 1 }, { op: "put", key: "large", value: large }];
      await assert.rejects(ctx.emit(new Batch([], { kv: batch })), { code: /quota_exceeded|frame_too_large/ });
    }
    await assert.rejects(ctx.publish("agent.large", "x".repeat(2 << 20)), { code: "frame_too_large" });
    assert.equal((await kv.getMany(["small", "large"])).size, 0);
  });
});

// Proves H1, what exists, Node part: keyed state, locks, publish, log and config under the same names.
test("keyed state: values, revisions, lists, updates, expiry, its scopes", async (t) => {
  await within(t, async (ctx, broker) => {
    const { kv } = ctx;
    assert.equal(await kv.get("no"), undefined);
    assert.equal(await kv.get("no", "fallback"), "fallback");
    const revision = await kv.put("a/1", { n: 1n << 60n });
    assert.deepEqual(await kv.entry("a/1"), { key: "a/1", value: { n: 1n << 60n }, revision });
    await kv.put("a/2", null);
    assert.equal(await kv.get("a/2", "fallback"), null);
    assert.deepEqual((await kv.list("a/")).map(({ key }) => key), ["a/1", "a/2"]);
    await assert.rejects(kv.put("a/1", 1, { ifRevision: revision + 99 }), { code: "revision_conflict" });
    await assert.rejects(kv.put("a/1", 1, { ifRevision: 0 }), { code: "revision_conflict" });
    await kv.put("fresh", 1, { ifRevision: 0 });
    await kv.delete("a/2");
    assert.equal(await kv.entry("a/2"), undefined);
    assert.equal(await kv.update("count", (n) => (n ?? 0) + 1), 1);
    assert.equal(await kv.update("count", async (n) => n + 1), 2);
    await assert.rejects(kv.update("count", () => { throw new RangeError("not now"); }), /not now/);
    assert.equal(await kv.get("count"), 2);
    const counted = await Promise.all(Array.from({ length: 8 }, () => kv.update("shared", (n = 0) => n + 1)));
    assert.deepEqual(counted.sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
    await kv.put("short", 1, { ttl: "10s" });
    await broker.advance("11s");
    assert.equal(await kv.get("short"), undefined);
    await kv.plugin.put("p", "plugin");
    assert.equal(await kv.get("p"), undefined);
    assert.equal(await kv.plugin.get("p"), "plugin");
    await ctx.session.kv.put("s", "session");
    assert.equal(ctx.session.id, "conversation");
    assert.equal(await ctx.session.kv.get("s"), "session");
    assert.equal(await kv.get("s"), undefined);
  });
});

test("keyed state is watched from a revision on", async (t) => {
  await within(t, async (ctx) => {
    const first = await ctx.kv.put("w/0", 0);
    await ctx.kv.put("w/1", 1);
    await ctx.kv.delete("w/0");
    const seen = [];
    for await (const change of ctx.kv.watch("w/", { fromRevision: first })) {
      seen.push([change.key, change.deleted, change.value]);
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen, [["w/1", false, 1], ["w/0", true, undefined]]);
  });
});

test("a lock is held by one, fenced, renewed, and given back", async (t) => {
  const broker = await TestBroker.start(t, new Plugin("p"));
  const one = await broker.attach(new Client("one"));
  const two = await broker.attach(new Client("two"));
  const lock = await one.lock("l", { ttl: "5s" });
  assert.ok(lock.token > 0);
  assert.equal(lock.lost, false);
  await assert.rejects(two.lock("l"), { code: "lock_held", retryable: true });
  await lock.release();
  const given = await one.lock("l", async (held) => {
    assert.ok(held.token > lock.token);
    await assert.rejects(two.lock("l"), { code: "lock_held" });
    return "given";
  });
  assert.equal(given, "given");
  await (await two.lock("l", { wait: "1s" })).release();
  await assert.rejects(one.lock("l", {}, () => { throw new Error("inside"); }), /inside/);
  const again = await two.lock("l");
  const batch = new Batch([Event.new("agent.fenced", "x", {})], { ifLock: lock });
  await assert.rejects(one.emit(batch), { code: "lock_lost" });
  await again[Symbol.asyncDispose]();
});

test("a waiting lock can be given up", async (t) => {
  const broker = await TestBroker.start(t, new Plugin("p"));
  const one = await broker.attach(new Client("one"));
  const two = await broker.attach(new Client("two"));
  const held = await one.lock("l");
  await assert.rejects(two.lock("l", { wait: "40s", signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
  await held.release();
  await (await two.lock("l", { wait: "10s" })).release();
});

test("a client reads, settles and seeks a subscription; the event comes again after a nak", async (t) => {
  const plugin = new Plugin("p");
  const broker = await TestBroker.start(t, plugin);
  const client = await broker.attach(new Client("reader"));
  const subscription = client.subscribe("agent.q", { name: "q", start: "new" });
  const { name, created } = await subscription.opened;
  assert.match(name, /q$/);
  assert.equal(created, true);
  for (let n = 0; n < 3; n++) await client.publish("agent.q", { n, big: 9007199254740993n });
  const first = (await subscription.next()).value;
  assert.deepEqual([first.topic, first.payload.n, first.attempt, first.payload.big], ["agent.q", 0, 1, 9007199254740993n]);
  assert.equal(first.event.raw.toString(), '{"n":0,"big":9007199254740993}');
  first.nak("1s", "later");
  assert.throws(() => first.ack(), { code: "stale_lease" });
  const rest = [];
  for (let i = 0; i < 2; i++) {
    const delivery = (await subscription.next()).value;
    rest.push(delivery.payload.n);
    delivery.ack();
  }
  assert.deepEqual(rest, [1, 2]);
  // Answered behind the nak, on the same link: the wait of a second has begun.
  await client.publish("agent.other", null);
  await broker.advance("2s");
  for await (const delivery of subscription) {
    assert.deepEqual([delivery.payload.n, delivery.attempt], [0, 2]);
    delivery.ack();
    break;
  }
  assert.deepEqual(await subscription.next(), { done: true, value: undefined });
  const again = client.subscribe("agent.q", { name: "q" });
  assert.equal((await again.opened).created, false);
  await again.seek("earliest");
  const { value } = await again.next();
  assert.equal(value.payload.n, 0);
  value.ack();
  await again.delete();
});

test("an agent answers, keeps the session's state, and waits for receipts", async (t) => {
  const plugin = new Plugin("chat");
  plugin.outbound("chat", async (message) => `id-${message.text}`);
  plugin.on("agent.in", { name: "in" }, (payload) => Event.inbound(payload, { kind: "chat" }));
  const broker = await TestBroker.start(t, plugin);
  const agent = new Client("support");
  agent.on("plugin.inbound.>", { group: "support", timeout: "2m" }, async function answer(message, ctx) {
    const turns = await ctx.session.kv.update("turns", (n) => (n ?? 0) + 1);
    const sending = await ctx.send("chat", "on its way", { to: message.conversation.id });
    const receipt = await sending.until("sent", { timeout: "1m" });
    return new Reply(`${turns}: ${receipt.providerId}`);
  });
  await broker.attach(agent);
  for (const turn of [1, 2]) {
    await broker.publish("agent.in", { text: "hi", conversation: { id: "c" }, sender: { id: "u" } });
    await broker.expectPublished("plugin.outbound.chat.default", { text: `${turn}: id-on its way` });
  }
  await assert.rejects((await broker.send("chat", "x", { to: "c" })).until("read", { timeout: "200ms" }), { code: "timed_out" });
});

test("a client that is not connected says so", async () => {
  const client = new Client("nobody", { socket: "/nowhere/trunkline.sock" });
  await assert.rejects(client.publish("agent.a", {}), { code: "link_lost", message: /not connected/ });
  await assert.rejects(client.connect(), { code: "unavailable", message: /expected a daemon at \/nowhere/ });
  await assert.rejects(new Client("x", { url: "wss://example.com" }).connect(), { code: "invalid_arguments" });
  await client.close();
});

test("any method of the contract can be spoken", async (t) => {
  await within(t, async (ctx) => {
    const found = await ctx.request("kv.get", { scope: "instance", key: "none" }).catch((error) => error);
    assert.ok(found === null || typeof found === "object");
    await assert.rejects(ctx.request("no.such"), { code: "not_implemented" });
  });
});
