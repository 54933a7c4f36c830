// What a handler returns or throws settles what it was given.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Batch, Client, Event, Fatal, Plugin, Receipt, Reject, Reply, Retry, TrunklineError } from "trunkline";
import { TestBroker } from "trunkline/testing";

const started = (t, prepare, options) => {
  const plugin = new Plugin("sms");
  prepare(plugin);
  return TestBroker.start(t, plugin, options);
};

test("nothing, a text and a receipt become receipts", async (t) => {
  const broker = await started(t, (plugin) =>
    plugin.outbound("sms", async ({ text }) => {
      if (text === "nothing") return;
      if (text === "text") return "SM1";
      return new Receipt("delivered", { providerId: "SM2" });
    }),
  );
  const receipt = async (text) => (await broker.send("sms", text, { to: "a" })).until(text === "receipt" ? "delivered" : "sent");
  assert.equal((await receipt("nothing")).providerId, undefined);
  assert.equal((await receipt("text")).providerId, "SM1");
  assert.deepEqual({ ...(await receipt("receipt")) }, { state: "delivered", providerId: "SM2", error: undefined, part: undefined, degraded: undefined });
});

test("a reply is in the same session, and answers", async (t) => {
  const broker = await started(t, (plugin) => plugin.outbound("sms", (payload) => new Reply(payload)));
  const sending = await broker.send("sms", "hi", { to: "me" });
  const reply = await broker.expectPublished("plugin.inbound.sms.default", { text: "hi" });
  assert.equal(reply.session_id, "me");
  assert.equal(reply.correlation_id, sending.id);
  assert.equal(reply.source, "sms/default");
});

test("an event, several and a batch are published with the ack", async (t) => {
  const broker = await started(t, (plugin) => {
    plugin.on("agent.one", async function one() {
      return Event.new("agent.made", "sms", { n: 1 }, { session: "s", metadata: { a: 1 } });
    });
    plugin.on("agent.two", async function two() {
      return [Event.new("agent.made", "x", { n: 2 }), Event.new("agent.made", "x", { n: 3 })];
    });
    plugin.on("agent.three", async function three(_payload, ctx) {
      const change = { op: "put", key: "k", value: { seen: ctx.event.id } };
      return new Batch([Event.inbound({ text: "b", conversation: { id: "c7" } }, { kind: "sms" })], { kv: [change] });
    });
    plugin.on("agent.four", async (_payload, ctx) => Event.new("agent.kv", "sms", { found: await ctx.kv.get("k") }));
    plugin.outbound("sms", () => {});
  });
  const { id } = await broker.publish("agent.one", {}).then(() => broker.expectPublished("agent.made", { n: 1 }));
  assert.ok(id);
  await broker.publish("agent.two", {});
  await broker.expectPublished("agent.made", { n: 2 });
  await broker.expectPublished("agent.made", { n: 3 });
  await broker.publish("agent.three", {});
  const inbound = await broker.expectPublished("plugin.inbound.sms.default", { text: "b" });
  assert.equal(inbound.session_id, "c7");
  await broker.publish("agent.four", {});
  assert.ok((await broker.expectPublished("agent.kv")).payload.found.seen);
});

test("a retry waits as long as it asked for, by the broker's clock, returned or thrown", async (t) => {
  const attempts = [];
  const broker = await started(t, (plugin) =>
    plugin.outbound("sms", (_payload, ctx) => {
      attempts.push(ctx.delivery.attempt);
      if (attempts.length === 1) return new Retry("3m", "busy");
      if (attempts.length === 2) throw new Retry("3m", "busy", { counted: false });
      return "P1";
    }),
  );
  const sending = await broker.send("sms", "hi", { to: "me" });
  await broker.expectNothing("plugin.delivery.sms.*", { state: "sent" }, { within: "5m" });
  const receipt = await broker.expectPublished("plugin.delivery.sms.*", { state: "sent" }, { within: "2m" });
  assert.equal(receipt.correlation_id, sending.id);
  assert.equal(attempts.length, 3);
});

test("a reject is a dead letter and a failed receipt", async (t) => {
  const broker = await started(t, (plugin) =>
    plugin.outbound("sms", ({ text }) => {
      if (text === "returned") return new Reject("no such number", "gone");
      throw new Reject("no such number", "gone");
    }),
  );
  for (const text of ["returned", "thrown"]) {
    const sending = await broker.send("sms", text, { to: text });
    await assert.rejects(sending.until("sent"), (error) => error instanceof TrunklineError && error.code === "delivery_failed");
  }
  const letters = await broker.deadLetters();
  assert.equal(letters.length, 2);
  assert.match(JSON.stringify(letters[0]), /no such number/);
  assert.match(JSON.stringify(letters[0]), /gone/);
});

// Proves X4, Node part: an exception carries the user's file and line into the dead letter.
test("what a handler throws is a dead letter with its file and line after the last attempt", async (t) => {
  const broker = await started(t, (plugin) => {
    plugin.on("agent.sync", { name: "sync" }, function broken(payload) {
      return payload.not.there;
    });
    plugin.on("agent.async", { name: "async" }, async (payload) => {
      await null;
      throw new RangeError(`too far: ${payload.n}`, { cause: new Error("because") });
    });
    plugin.on("agent.odd", { name: "odd" }, async () => {
      throw "just a text";
    });
  });
  for (const topic of ["sync", "async", "odd"]) await broker.publish(`agent.${topic}`, { n: 7 });
  await broker.advance("2h");
  const letters = Object.fromEntries((await broker.deadLetters()).map((letter) => [letter.event?.topic ?? letter.topic, JSON.stringify(letter)]));
  assert.match(letters["agent.sync"], /TypeError/);
  assert.match(letters["agent.sync"], /outcomes\.test\.mjs:\d+/);
  assert.match(letters["agent.async"], /RangeError/);
  assert.match(letters["agent.async"], /too far: 7: because/);
  assert.match(letters["agent.async"], /outcomes\.test\.mjs:\d+/);
  assert.match(letters["agent.odd"], /just a text/);
});

test("a value that says nothing is refused, and fails the test broker", async (t) => {
  const broker = await started(t, (plugin) => plugin.on("agent.row", async () => ({ id: 1, secret: "row" })));
  await broker.publish("agent.row", {});
  await assert.rejects(
    async () => {
      await broker.settle();
      await broker.expectNothing("agent.other");
    },
    /invalid_return|Object|object/,
  );
});

test("an error translator makes outcomes of foreign errors", async (t) => {
  class Busy extends Error {}
  let seen = 0;
  const broker = await started(t, (plugin) => {
    plugin.onError(Busy, (error, ctx) => (ctx.delivery.attempt > 1 ? new Reject(error.message, "busy") : new Retry("1s", error.message)));
    plugin.outbound("sms", async () => {
      seen += 1;
      throw new Busy("line busy");
    });
  });
  await broker.send("sms", "x", { to: "x" });
  await broker.expectPublished("plugin.delivery.sms.*", { state: "failed" }, { within: "1m" });
  assert.equal(seen, 2);
});

test("a manual handler settles by itself, once", async (t) => {
  const errors = [];
  const broker = await started(t, (plugin) => {
    plugin.on("agent.m", { settle: "manual", name: "m" }, async ({ what }, ctx) => {
      if (what === "ack") {
        ctx.ack();
        try {
          ctx.ack();
        } catch (error) {
          errors.push(error.code);
        }
      } else if (what === "nak" && ctx.delivery.attempt === 1) ctx.nak("10s", "later");
      else if (what === "nak") ctx.ack();
      else ctx.reject("never", "no");
    });
    plugin.on("agent.auto", { name: "auto" }, (_payload, ctx) => {
      try {
        ctx.ack();
      } catch (error) {
        errors.push(error.code);
      }
    });
  });
  for (const what of ["ack", "nak", "reject"]) await broker.publish("agent.m", { what });
  await broker.publish("agent.auto", {});
  await broker.advance("1m");
  assert.deepEqual(errors.sort(), ["invalid_arguments", "stale_lease"]);
  assert.equal((await broker.deadLetters()).length, 1);
});

test("an error of the catalogue keeps its code, and is an error that narrows", async (t) => {
  const broker = await started(t, (plugin) =>
    plugin.on("agent.p", { name: "p" }, async (_payload, ctx) => {
      try {
        await ctx.publish("plugin.inbound.other.default", {});
      } catch (error) {
        return Event.new("agent.error", "sms", { code: error.code, retryable: error.retryable, where: error.stack });
      }
    }),
  );
  await broker.publish("agent.p", {});
  const { payload } = await broker.expectPublished("agent.error");
  assert.equal(payload.code, "topic_not_granted");
  assert.equal(payload.retryable, false);
  assert.match(payload.where, /outcomes\.test\.mjs:\d+/);
});

test("a payload schema rejects what does not fit, with a pointer", async (t) => {
  const schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) =>
        typeof value.n === "number" ? { value: { n: value.n + 1 } } : { issues: [{ message: "expected a number", path: ["n"] }] },
    },
  };
  const seen = [];
  const broker = await started(t, (plugin) => plugin.on("agent.n", { payload: schema, name: "n" }, (payload) => void seen.push(payload.n)));
  await broker.publish("agent.n", { n: 1 });
  await broker.publish("agent.n", { n: "1" });
  await broker.settle();
  assert.deepEqual(seen, [2]);
  assert.match(JSON.stringify(await broker.deadLetters()), /\/n: expected a number/);
  assert.match(JSON.stringify(await broker.deadLetters()), /invalid_payload/);
});

test("registrations give their functions back, and wrong ones are refused", () => {
  const plugin = new Plugin("p");
  const handler = async () => {};
  assert.equal(plugin.on("agent.a", handler), handler);
  assert.equal(plugin.outbound("p", { timeout: "1s" }, handler), handler);
  assert.equal(new Client("c").on("agent.a", handler), handler);
  assert.equal(plugin.onStart(handler), handler);
  assert.throws(() => plugin.on("agent.b"), TypeError);
  assert.ok(new Fatal("x") instanceof Error);
});

test("an option that nothing knows, and a bare number as a duration, are refused", async (t) => {
  const plugin = new Plugin("p");
  plugin.on("agent.a", { timout: "1s" }, () => {});
  await assert.rejects(TestBroker.start(t, plugin), { code: "invalid_arguments", message: /timout/ });
  const bare = new Plugin("p");
  bare.on("agent.a", { timeout: 30 }, () => {});
  await assert.rejects(TestBroker.start(t, bare), { code: "invalid_arguments", message: /duration/ });
});
