import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./news.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const config = { url: "https://example.com/feed.json", keyword: "rail" };

test("an item with the keyword is one event", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const items = [{ id: "1", title: "A new rail" }, { id: "2", title: "A new road" }];
  const feed = { version: "https://jsonfeed.org/version/1.1", title: "News", items };
  const route = broker.http("https://example.com").on("GET", "/feed.json").reply(200, { json: feed });
  await broker.expectPublished("plugin.inbound.news.*", { text: "A new rail" }, { within: "20m" });
  await broker.expectNothing("plugin.inbound.news.*", undefined, { within: "20m" });
  assert.ok(route.requests.length > 1);
});
