// Tools in JavaScript for clients of every kind; the same in `tools.py` and `tools_plugin.rs`.
import { once } from "node:events";
import { Plugin, run } from "trunkline";

const plugin = new Plugin("tools-node", { version: "0.1.0" });
const none = { type: "object" };
const value = { type: "object", properties: { value: { type: "object" } }, required: ["value"] };
const count = { type: "object", properties: { count: { type: "integer" } } };
let cancelled = 0;

plugin.tool("echo", { input: value, output: value, idempotent: true, description: "Gives back what it is given." }, (given) => given);
plugin.tool("steps", { input: none, description: "Reports progress three times." }, (_, ctx) => {
  for (const done of [1, 2, 3]) {
    ctx.progress({ done, total: 3, message: `step ${done}` });
  }
  return "done";
});
plugin.tool("hang", { input: none, description: "Never ends by itself." }, async (_, ctx) => {
  ctx.progress({ done: 1 });
  if (!ctx.signal.aborted) await once(ctx.signal, "abort");
  cancelled += 1;
  throw ctx.signal.reason;
});
plugin.tool("cancels", { input: none, output: count, description: "How many calls were cancelled." }, () => ({ count: cancelled }));

await run(plugin);
