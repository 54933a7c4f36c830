import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./watcher.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");

test("an account counts for itself", async (t) => {
  const config = { keyword: "refund" };
  const instances = ["support", "sales"];
  const broker = await TestBroker.start(t, plugin, { manifest, config, instances });
  await broker.send("watcher", "no", { to: "a", instance: "support" });
  for (const instance of ["support", "support", "sales"]) {
    await broker.send("watcher", "a refund", { to: "a", instance });
  }
  for (const text of ["support saw 1", "support saw 2", "sales saw 1"]) {
    await broker.expectPublished(`plugin.inbound.watcher.${text.split(" ")[0]}`, { text });
  }
  await broker.expectNothing("plugin.inbound.watcher.*", undefined, { within: "1s" });
});
