// Sessions in parallel, order within, contexts, cancellation.
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Plugin, Reply } from "trunkline";
import { TestBroker } from "trunkline/testing";

test("sessions run in parallel, the events of one in order", async (t) => {
  const plugin = new Plugin("p");
  const log = [];
  let running = 0;
  let most = 0;
  plugin.on("agent.o", { name: "o" }, async ({ n }, ctx) => {
    most = Math.max(most, ++running);
    log.push(`${ctx.session.id} begin ${n}`);
    await sleep(n % 2 ? 1 : 8);
    log.push(`${ctx.session.id} end ${n}`);
    running -= 1;
  });
  const broker = await TestBroker.start(t, plugin);
  const sent = [];
  for (let n = 0; n < 12; n++) sent.push(broker.publish("agent.o", { n }, { session: `s${n % 4}` }));
  await Promise.all(sent);
  await broker.settle();
  while (log.length < 24) await sleep(5);
  assert.ok(most > 1, "several at a time");
  for (let s = 0; s < 4; s++) {
    const own = log.filter((line) => line.startsWith(`s${s} `)).map((line) => line.slice(3));
    assert.deepEqual(own, [s, s + 4, s + 8].flatMap((n) => [`begin ${n}`, `end ${n}`]));
  }
});

test("each handling has its own asynchronous context, and the user's own one works", async (t) => {
  const mine = new AsyncLocalStorage();
  const plugin = new Plugin("p");
  const seen = [];
  plugin.on("agent.als", { name: "als" }, (payload, ctx) =>
    mine.run(payload.n, async () => {
      await sleep(2);
      await ctx.publish("agent.said", { n: payload.n });
      await new Promise((resolve) => setImmediate(resolve));
      seen.push([payload.n, mine.getStore()]);
    }),
  );
  const broker = await TestBroker.start(t, plugin);
  for (let n = 0; n < 20; n++) await broker.publish("agent.als", { n });
  for (let n = 0; n < 20; n++) await broker.expectPublished("agent.said", { n });
  await broker.settle();
  while (seen.length < 20) await sleep(2);
  for (const [n, stored] of seen) assert.equal(stored, n);
});

// Proves LN9, handlers, Node part: cancellation reaches an await within 100 ms of the deadline.
test("a handler that never returns is cancelled at its timeout, and the event comes again", async (t) => {
  const plugin = new Plugin("p");
  const seen = [];
  let begun;
  plugin.outbound("p", { timeout: "300ms" }, async (_payload, ctx) => {
    const [before, remaining, after] = [Date.now(), ctx.remaining, Date.now()];
    assert.ok(remaining > 0 && remaining <= 300, `${remaining}`);
    const now = ctx.deadline.getTime() - remaining;
    assert.ok(now > before - 5 && now < after + 5, `${before} ${now} ${after}`);
    if (ctx.delivery.attempt > 1) return "P";
    const error = await new Promise((resolve) => ctx.signal.addEventListener("abort", () => resolve(ctx.signal.reason)));
    seen.push({ after: performance.now() - begun, error, cancelled: ctx.cancelled });
    return new Promise(() => {});
  });
  const broker = await TestBroker.start(t, plugin);
  // The least of some: the machine may have other work, a deadline that reaches nobody is always late.
  let least = Infinity;
  for (let n = 1; n <= 8 && least >= 400; n++) {
    begun = performance.now();
    const sending = await broker.send("p", "x", { to: `x${n}` });
    await broker.expectPublished("plugin.delivery.p.*", { state: "sent" }, { within: "5m" });
    assert.equal(seen.length, n);
    least = Math.min(least, seen.at(-1).after);
    assert.equal(seen.at(-1).error.code, "timed_out");
    assert.equal(seen.at(-1).cancelled, true);
    assert.ok(sending.id);
  }
  assert.ok(least >= 295 && least < 400, `${least}`);
});

test("a signal that is asked for late is aborted already", async (t) => {
  const plugin = new Plugin("p");
  let late;
  plugin.outbound("p", { timeout: "100ms" }, async (_payload, ctx) => {
    if (ctx.delivery.attempt > 1) return "P";
    await sleep(160);
    late = { aborted: ctx.signal.aborted, cancelled: ctx.cancelled };
    return "late";
  });
  const broker = await TestBroker.start(t, plugin);
  await broker.send("p", "x", { to: "x" });
  await broker.expectPublished("plugin.delivery.p.*", { state: "sent" }, { within: "5m" });
  assert.deepEqual(late, { aborted: true, cancelled: true });
});

test("a thousand handlers that answer at once are all settled", async (t) => {
  const plugin = new Plugin("p");
  plugin.on("plugin.outbound.p.>", { name: "direct" }, () => {});
  plugin.outbound("p", (payload) => new Reply(payload));
  const broker = await TestBroker.start(t, plugin);
  await Promise.all(Array.from({ length: 1000 }, (_, n) => broker.publish("plugin.outbound.p.default", { n }, { session: `${n % 50}` })));
  await broker.settle();
  await broker.expectPublished("plugin.inbound.p.default", { n: 999 });
  assert.deepEqual(await broker.deadLetters(), []);
});
