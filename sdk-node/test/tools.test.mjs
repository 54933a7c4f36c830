// Tools: served by functions of each kind, and called.
import assert from "node:assert/strict";
import { AssertionError } from "node:assert";
import { test } from "node:test";
import { Client, Event, Plugin, Reject, Reply, Retry, ToolError } from "trunkline";
import { TestBroker } from "trunkline/testing";

const input = { type: "object" };
const SUM = { type: "object", properties: { a: { type: "number" }, b: { type: "number" } }, required: ["a", "b"] };

// Proves P3b and W15, Node part: a call gives the result, and an unknown tool is an error.
test("a call gives the result", async (t) => {
  const plugin = new Plugin("sums");
  plugin.tool("add", { input: SUM, description: "Add two numbers." }, async ({ a, b }, ctx) => {
    assert.equal(typeof ctx.caller, "string");
    assert.equal(ctx.delivery, undefined);
    return a + b;
  });
  plugin.tool("big", { input }, ({ n }) => ({ n, more: n + 1n }));
  plugin.tool("nothing", { input }, () => {});
  const broker = await TestBroker.start(t, plugin);
  assert.equal(await broker.callTool("sums.add", { a: 1, b: 2.5 }), 3.5);
  assert.deepEqual(await broker.callTool("sums.big", { n: 2n ** 80n }), { n: 2n ** 80n, more: 2n ** 80n + 1n });
  assert.equal(await broker.callTool("sums.nothing"), null);
  await assert.rejects(broker.callTool("sums.add", { a: 1 }), { code: "invalid_arguments" });
  await assert.rejects(broker.callTool("sums.none", {}), { code: "tool_not_found" });
});

test("what a tool throws is the error of the call", async (t) => {
  const plugin = new Plugin("p");
  plugin.tool("fails", { input }, async ({ how }) => {
    switch (how) {
      case "tool":
        throw new ToolError("too old", "too_old", true);
      case "known":
        return new ToolError("no such charge", "not_found");
      case "retry":
        return new Retry("3s", "busy");
      case "reject":
        throw new Reject("no", "invalid_arguments");
      default:
        throw new RangeError("boom");
    }
  });
  const broker = await TestBroker.start(t, plugin);
  const failed = (how) => broker.callTool("p.fails", { how }).catch((error) => error);
  const tool = await failed("tool");
  assert.deepEqual([tool.code, tool.message, tool.retryable], ["tool_failed", "too old", true]);
  assert.equal(tool.detail.code, "too_old");
  assert.equal((await failed("known")).code, "not_found");
  assert.equal((await failed("retry")).retryAfterMs, 3000);
  assert.equal((await failed("reject")).code, "invalid_arguments");
  const other = await failed("other");
  assert.deepEqual([other.code, other.message, other.retryable, other.detail.type], ["tool_failed", "boom", false, "RangeError"]);
});

test("an answer to an event is refused from a tool", async (t) => {
  const plugin = new Plugin("p");
  plugin.tool("replies", { input }, () => new Reply("no"));
  const broker = await TestBroker.start(t, plugin);
  await assert.rejects(broker.callTool("p.replies"), { code: "invalid_return" });
  await assert.rejects(broker.expectNothing("agent.>", undefined, { within: "1s" }), AssertionError);
});

// Proves P3b and W16, Node part: generators stream, and who does not iterate gets it whole.
test("progress and chunks come before the result", async (t) => {
  const plugin = new Plugin("p");
  plugin.tool("words", { input, output: { type: "string" } }, async function* (_, ctx) {
    ctx.progress({ done: 1, total: 2, message: "half", data: { n: 1 } });
    yield "one ";
    yield "two";
  });
  plugin.tool("numbers", { input }, function* ({ to }) {
    for (let n = 0; n < to; n++) yield n;
  });
  plugin.tool("byHand".toLowerCase(), { input, streaming: true }, async (_, ctx) => {
    await ctx.chunk([1]);
    await ctx.chunk({ n: 2 });
  });
  const broker = await TestBroker.start(t, plugin);
  const call = broker.callTool("p.words", {});
  const steps = [];
  for await (const step of call) steps.push(step);
  assert.deepEqual(steps, [
    { kind: "progress", done: 1, total: 2, message: "half", data: { n: 1 } },
    { kind: "chunk", data: "one " },
    { kind: "chunk", data: "two" },
  ]);
  assert.equal(await call, null);
  assert.equal(await broker.callTool("p.words", {}), "one two");
  assert.deepEqual(await broker.callTool("p.numbers", { to: 3 }), [0, 1, 2]);
  assert.deepEqual(await broker.callTool("p.byhand", {}), [[1], { n: 2 }]);
});

// Proves LN44, Node part: chunks wait while the caller's window is full.
test("a large stream waits for its reader", async (t) => {
  const plugin = new Plugin("p");
  let sent = 0;
  plugin.tool("large", { input }, async function* () {
    for (let n = 0; n < 64; n++) {
      yield "x".repeat(32_768);
      sent += 1;
    }
  });
  const broker = await TestBroker.start(t, plugin);
  const steps = broker.callTool("p.large", {})[Symbol.asyncIterator]();
  assert.equal((await steps.next()).value.data.length, 32_768);
  await broker.settle();
  assert.ok(sent < 40, `${sent} chunks were sent`);
  let more = 0;
  while (!(await steps.next()).done) more += 1;
  assert.deepEqual([more, sent], [63, 64]);
});

// Proves LN9, Node part: a cancelled call and an aborted one are told.
for (const how of ["cancel", "signal"]) {
  test(`a ${how} reaches the handler within 100 ms`, async (t) => {
    const plugin = new Plugin("p");
    let began, ended;
    plugin.tool("waits", { input }, (_, ctx) => {
      began.resolve();
      return new Promise((_, reject) => {
        ctx.signal.addEventListener("abort", () => {
          ended.resolve(performance.now());
          reject(ctx.signal.reason);
        });
      });
    });
    const broker = await TestBroker.start(t, plugin);
    // The least of some: the machine may have other work, a cancel that does not reach the handler is always late.
    let least = Infinity;
    for (let n = 0; n < 8 && least >= 100; n++) {
      [began, ended] = [resolvers(), resolvers()];
      const controller = new AbortController();
      const call = broker.callTool("p.waits", {}, { signal: controller.signal });
      const failed = assert.rejects(call, how === "cancel" ? { code: "cancelled" } : { name: "AbortError" });
      await began.promise;
      const at = performance.now();
      if (how === "cancel") call.cancel("no need");
      else controller.abort();
      least = Math.min(least, (await ended.promise) - at);
      await failed;
    }
    assert.ok(least < 100, `${least}`);
  });
}

function resolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

// Proves LN25, Node part: none is refused below what the tool declares.
test("two hundred calls at once are all answered", async (t) => {
  const plugin = new Plugin("p");
  let running = 0;
  const everyone = resolvers();
  plugin.tool("meets", { input, concurrency: 200 }, async ({ n }) => {
    running += 1;
    if (running === 200) everyone.resolve();
    await everyone.promise;
    return n;
  });
  const broker = await TestBroker.start(t, plugin);
  const calls = Array.from({ length: 200 }, (_, n) => broker.callTool("p.meets", { n }));
  assert.deepEqual(await Promise.all(calls), calls.map((_, n) => n));
});

test("a handler calls a tool on behalf of what it handles", async (t) => {
  const plugin = new Plugin("p");
  plugin.tool("tell", { input }, (_, ctx) => ({ caller: ctx.caller, key: ctx.idempotencyKey, left: ctx.remaining }));
  plugin.tool("outer", { input }, (_, ctx) => ctx.callTool("p.tell", {}, { idempotencyKey: "k" }));
  const broker = await TestBroker.start(t, plugin);
  const agent = new Client("agent");
  agent.on("agent.ask", { start: "earliest", name: "ask" }, async (payload, ctx) =>
    Event.new("agent.told", "agent", await ctx.callTool("p.outer", payload, { timeout: "20s" })),
  );
  await broker.attach(agent);
  await broker.publish("agent.ask", {});
  const { caller, key, left } = (await broker.expectPublished("agent.told")).payload;
  assert.deepEqual([caller, key], ["p/default", "k"]);
  assert.ok(left <= 20_000);
});

test("tools come and go at run time", async (t) => {
  const plugin = new Plugin("p");
  let context;
  plugin.onStart((ctx) => {
    context = ctx;
  });
  const broker = await TestBroker.start(t, plugin);
  await context.registerTool("late", { input }, () => "late");
  assert.equal(await broker.callTool("p.late"), "late");
  await context.unregisterTool("late");
  await assert.rejects(broker.callTool("p.late"), { code: "tool_not_found" });
});

test("what is wrong with a tool is said at its registration", () => {
  const plugin = new Plugin("p");
  const refused = (options, message) =>
    assert.throws(() => plugin.tool("t", options, () => {}), { code: "invalid_arguments", message });
  refused({}, /expected `input`/);
  refused({ input, inputs: 1 }, /expected one of the options/);
  refused({ input: { "~standard": { vendor: "some" } } }, /input.*offers its JSON Schema, found one of some.*\n?.*zod 4\.2/);
  refused({ input, output: [] }, /output.*JSON Schema or a Standard Schema, found Array/);
  refused({ input: new (class Old {})() }, /found Old/);
  const handler = () => {};
  assert.equal(plugin.tool("t", { input }, handler), handler);
});
