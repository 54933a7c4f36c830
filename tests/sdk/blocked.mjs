// The plugin of the blocked loop in JavaScript: a handler that is told to block does; the same in `blocked.py`.
import { Plugin, Reply, run } from "trunkline";

process.env.TRUNKLINE_BLOCKED_MS = "1000";
const plugin = new Plugin("blocked", { version: "0.1.0" });

plugin.outbound("blocked", async (payload) => {
  for (const end = performance.now() + payload.block_ms; performance.now() < end;);
  return new Reply(payload);
});

await run(plugin);
