// The SDK's plugins that are measured; the argument says which.
//
// | argument | what it is |
// |---|---|
// | `reply` | a tool's topic, the handler returns its answer |
// | `publish` | the same topic, the handler awaits its publish and looks at the number |
// | `slow` | the same topic, 10 ms of waiting and no answer |
// | `echo` | a channel, for the daemon: what agents send to kind "echo" comes back, with a receipt |
//
// The first three are registered for `plugin.tool.>`, not as a channel: there an answer is one event and the ack,
// with no receipt and no conversation to copy, so that a loop written by hand does the same work frame by frame.

import { Plugin, Reply, run } from "trunkline";

const plugin = new Plugin("echo");
const form = process.argv[2];

const handlers = {
  reply: async (payload) => new Reply(payload),
  publish: async (payload, ctx) => {
    const { seq } = await ctx.publish(`${ctx.event.topic}.reply`, payload, { session: ctx.event.session_id });
    if (!(seq >= 1)) throw new Error(`expected a number from 1, found ${seq}`);
  },
  slow: () => new Promise((resolve) => setTimeout(resolve, 10)),
};

if (form === "echo") plugin.outbound("echo", handlers.reply);
else plugin.on("plugin.tool.echo.>", { name: "work" }, handlers[form]);
await run(plugin);
