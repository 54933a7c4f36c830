import { Plugin, Reply, isMain, run } from "trunkline";

export const plugin = new Plugin("echo", { version: "0.1.0" });
plugin.outbound("echo", async (payload) => new Reply(payload));

if (isMain(import.meta)) await run(plugin);
