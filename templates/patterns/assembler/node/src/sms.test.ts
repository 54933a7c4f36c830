import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./sms.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const config = { webhook_secret: "whsec_c2VjcmV0" };

async function post(broker: TestBroker, ref: string, part: number, text: string): Promise<void> {
  const json = { from: "+491511", ref, part, parts: 2, text };
  const answer = await broker.webhook("sms", { json, session: "+491511" });
  assert.equal(answer.status, 200);
}

test("parts in any order are one message", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  await post(broker, "a", 2, "world");
  await post(broker, "a", 1, "hello ");
  await broker.expectPublished("plugin.inbound.sms.*", { text: "hello world" }, { within: "1s" });
});

test("what is missing is not waited for for ever", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  await post(broker, "b", 1, "hello ");
  await broker.expectNothing("plugin.inbound.sms.*", undefined, { within: "29s" });
  await broker.expectPublished("plugin.inbound.sms.*", { text: "hello " }, { within: "5s" });
});
