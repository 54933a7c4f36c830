// The plugin whose instances share a process, in JavaScript; the same in `shared.py`.
import { Plugin, Reply, run } from "trunkline";

const plugin = new Plugin("guest", { version: "0.1.0" });
let lives = 0;

plugin.onStart(async (ctx) => {
  if (ctx.config.mark === "broken") throw new Error("this one never starts");
  ctx.log.info(`my mark is ${ctx.config.mark}`);
  return { life: lives++ };
});

plugin.outbound("guest", { timeout: "2m" }, async (order, ctx) => {
  const count = await ctx.kv.update("count", (n) => (n ?? 0) + 1);
  if (order.do === "raise") throw new Error("as it was told");
  if (order.do === "wait") await new Promise(() => {});
  return new Reply({
    instance: ctx.instance, mark: ctx.config.mark, life: ctx.state.life, count,
    pid: process.pid, number: order.number ?? null,
  });
});

run(plugin);
