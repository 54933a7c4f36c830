// Timers: an instance is told that it is time.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { Batch, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

// Proves LN27, P6c, Node part: interval, one-shot and cron by one API; the test broker's clock moves them.
test("timers are set, listed, cancelled, and come when they are due", async (t) => {
  const seen = [];
  const plugin = new Plugin("news");
  plugin.timer("digest", { every: "1h", data: { chat: 7 } }, ({ name, data, missed }) => {
    seen.push([name, data, missed]);
  });
  plugin.timer("remind/*", async ({ name, data }, ctx) => {
    seen.push([name, data]);
    if (data < 2) return new Batch([], { timers: [{ op: "set", name, after: "1m", data: data + 1 }] });
    assert.equal(await ctx.timer.cancel("never"), true);
  });
  plugin.onStart(async (ctx) => {
    await ctx.timer.set("remind/a", { after: "5m", data: 1 });
    await ctx.timer.set("never", { at: new Date(Date.now() + 4e11) });
    const { dueAt } = await ctx.timer.set("noon", { cron: "0 12 * * *", tz: "Europe/Berlin" });
    assert.match(dueAt, /T1[01]:00:00.000Z$/);
    assert.deepEqual((await ctx.timer.list("n")).map(({ name }) => name), ["never", "noon"]);
    await assert.rejects(ctx.timer.set("x", { every: "10ms" }), { code: "invalid_arguments" });
    await assert.rejects(ctx.timer.set("engine.x", { every: "10m" }), { code: "invalid_arguments" });
    await assert.rejects(ctx.timer.set("x", { evry: "10m" }), { code: "invalid_arguments" });
  });
  const broker = await TestBroker.start(t, plugin);
  await broker.advance("5m");
  await broker.advance("1m");
  assert.deepEqual(seen, [["remind/a", 1], ["remind/a", 2]]);
  await broker.advance("54m");
  await broker.advance("1h");
  assert.deepEqual(seen.slice(2), [["digest", { chat: 7 }, 0], ["digest", { chat: 7 }, 0]]);
});

const here = dirname(fileURLToPath(import.meta.url));
const GUIDE = join(process.env.TRUNKLINE_ROOT ?? join(here, "..", ".."), "docs", "timers.md");

test("the example of the guide works", { skip: existsSync(GUIDE) ? false : "the guide is not here" }, async (t) => {
  const directory = mkdtempSync(join(here, "..", "r-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const [, code] = /```js\n([^]*?)```/.exec(readFileSync(GUIDE, "utf8"));
  const file = join(directory, "guide.mjs");
  writeFileSync(file, `${code}\nexport { plugin };\n`);
  const { plugin } = await import(pathToFileURL(file));
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.remind", { id: 7, text: "call back" });
  await broker.settle();
  await broker.advance("5m");
  await broker.expectPublished("agent.reminder", { id: 7 });
});
