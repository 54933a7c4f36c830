// Outbound adapters: no call is made twice that may not be.
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Plugin, Receipt, Retry } from "trunkline";
import { TestBroker } from "trunkline/testing";

const DELIVERY = "plugin.delivery.sms.*";
const within = "1m";
const manifest = `
[plugin]
id = "sms"
version = "0.1.0"
command = ["./sms"]
[[channels]]
kind = "sms"
features = { text_chars_max = 10 }
`;

function adapter(options) {
  const plugin = new Plugin("sms");
  const keys = [];
  plugin.outbound("sms", options, async (message, ctx) => `SM${keys.push(ctx.idempotencyKey)}`);
  return { plugin, keys };
}

// Proves P7c, Node part: unknown, and not a second message.
test("a death after the call is unknown", async (t) => {
  const { plugin, keys } = adapter({ rate: "100/s", ratePerTarget: "50/s" });
  const broker = await TestBroker.start(t, plugin);
  broker.kill({ at: "before_commit" });
  await broker.send("sms", "hi", { to: "+49" });
  await broker.expectPublished(DELIVERY, { state: "unknown" }, { within });
  assert.equal(keys.length, 1);
});

// Proves P7c, Node part: the same key at every attempt.
test("an idempotent call is made again", async (t) => {
  const { plugin, keys } = adapter({ idempotent: true });
  const broker = await TestBroker.start(t, plugin);
  broker.kill({ at: "before_commit" });
  await broker.send("sms", "hi", { to: "+49" });
  await broker.expectPublished(DELIVERY, { state: "sent" }, { within });
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
});

// Proves P7c, Node part: what the provider has is not sent again.
test("the provider is asked", async (t) => {
  const asked = [];
  const reconcile = async (message, ctx) => (asked.push([message.text, ctx.split.of]), "SM7");
  const { plugin, keys } = adapter({ reconcile });
  const broker = await TestBroker.start(t, plugin);
  broker.kill({ at: "before_commit" });
  await broker.send("sms", "hi", { to: "+49" });
  await broker.expectPublished(DELIVERY, { state: "sent", provider_id: "SM7" }, { within });
  assert.equal(keys.length, 1);
  assert.deepEqual(asked, [["hi", 1]]);
});

// Proves P7e, Node part: a long text is split, and `ctx.split` says how.
test("parts have their receipts", async (t) => {
  const plugin = new Plugin("sms");
  const seen = [];
  plugin.outbound("sms", { rate: "100/s" }, (message, ctx) => {
    const { n, of } = ctx.split;
    seen.push([message.text, n, of]);
    if (n === 2 && !ctx.delivery.redelivered) throw new Retry("1s", "busy");
    return "x";
  });
  const broker = await TestBroker.start(t, plugin, { manifest });
  await broker.send("sms", "one two. three.", { to: "+49" });
  for (const n of [1, 2]) await broker.expectPublished(DELIVERY, { state: "sent", part: { n, of: 2 } }, { within });
  assert.deepEqual(seen, [["one two.", 1, 2], ["three.", 2, 2], ["three.", 2, 2]]);
});

// Proves P7a, Node part: any handler may say a later state.
test("a later receipt finds its message", async (t) => {
  const { plugin } = adapter({ rate: "100/s" });
  plugin.on("agent.status", ({ id }) => new Receipt("delivered", { providerId: id }));
  const broker = await TestBroker.start(t, plugin);
  const sending = await broker.send("sms", "hi", { to: "+49" });
  await broker.expectPublished(DELIVERY, { state: "sent" }, { within });
  await broker.publish("agent.status", { id: "SM1" });
  const found = await broker.expectPublished(DELIVERY, { state: "delivered" }, { within });
  assert.deepEqual([found.correlation_id, found.session_id], [sending.id, "+49"]);
});

test("a rate that is none, and an option that is none, are refused", async (t) => {
  const { plugin } = adapter({ rate: "fast" });
  await assert.rejects(async () => TestBroker.start(t, plugin), /30\/s/);
  const { plugin: other } = adapter({ rate_per_target: "1/s" });
  await assert.rejects(async () => TestBroker.start(t, other), /ratePerTarget/);
});

const TOOLS = process.env.TRUNKLINE_NODE_TYPES;
const ROOT = process.env.TRUNKLINE_ROOT;
const without = TOOLS && ROOT && existsSync(ROOT) ? false : "run by check.sh";

test("the example of the guide runs", { skip: without }, async (t) => {
  const guide = readFileSync(join(ROOT, "docs", "patterns", "outbound.md"), "utf8");
  const [, code] = /```ts\n(.*?)```/s.exec(guide);
  const { default: ts } = await import(pathToFileURL(join(TOOLS, "typescript", "lib", "typescript.js")));
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  const file = join(dirname(fileURLToPath(import.meta.url)), "outbound_guide.mjs");
  t.after(() => rmSync(file, { force: true }));
  writeFileSync(file, ts.transpileModule(code, { compilerOptions: options }).outputText);
  const { plugin } = await import(pathToFileURL(file));
  const broker = await TestBroker.start(t, plugin);
  broker.kill({ at: "before_commit" });
  await broker.send("sms", "hi", { to: "+49" });
  await broker.expectPublished(DELIVERY, { state: "sent", provider_id: "SM1" }, { within });
});
