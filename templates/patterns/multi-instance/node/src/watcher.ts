// Answers what has its account's keyword.
import { Plugin, Reply, isMain, run } from "trunkline";

export const plugin = new Plugin<{ keyword: string }>("{{name}}");

plugin.onStart(async (ctx) => ({ keyword: ctx.config.keyword })); // ctx.state from here on, of this account

plugin.outbound("watcher", async (message, ctx) => {
  const { keyword } = ctx.state as { keyword: string };
  if (!message.text?.includes(keyword)) return;
  const seen = await ctx.kv.update<number>("seen", (n) => (n ?? 0) + 1);
  return new Reply({ text: `${ctx.instance} saw ${seen}` });
});

if (isMain(import.meta)) await run(plugin);
