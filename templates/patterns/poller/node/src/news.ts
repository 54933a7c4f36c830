// Makes events of what a feed has that is new.
import { Event, Plugin, isMain, run } from "trunkline";

export const plugin = new Plugin<{ url: string; keyword: string }>("{{name}}");

plugin.poll("news", { feed: "{config.url}", every: "15m", jitter: "1m" }, async (item, ctx) => {
  const { title = "", link = "" } = item;
  if (!title.includes(ctx.config.keyword)) return;
  return Event.inbound({ text: `${title} ${link}`.trim(), conversation: { id: ctx.instance } });
});

if (isMain(import.meta)) await run(plugin);
