// Sends back what it is sent.
import { Plugin, Reply, isMain, run } from "trunkline";

export const plugin = new Plugin("{{name}}");

plugin.outbound("echo", async (payload) => new Reply(payload));

if (isMain(import.meta)) await run(plugin);
