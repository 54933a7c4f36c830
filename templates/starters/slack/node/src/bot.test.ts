import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./bot.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const config = { app_token: "xapp-1", bot_token: "xoxb-1", api: "https://slack.com/api" };

async function connect(t: TestContext) {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const slack = broker.http("https://slack.com/api");
  const url = "wss://wss.slack.com/link/?ticket=1";
  slack.on("POST", "/apps.connections.open").reply(200, { json: { ok: true, url } });
  const socket = await broker.socket("wss://wss.slack.com").accept();
  socket.send({ type: "hello" });
  return { broker, slack, socket };
}

test("what people write comes in, and is acknowledged once it is durable", async (t) => {
  const { broker, socket } = await connect(t);
  const event = { type: "message", ts: "1.2", text: "hi", user: "U1", channel: "C1", channel_type: "channel" };
  socket.send({ type: "events_api", envelope_id: "e1", payload: { event_id: "Ev1", event } });
  await socket.expect({ envelope_id: "e1" });
  const came = await broker.expectPublished("plugin.inbound.slack.*", { text: "hi" });
  assert.equal(came.payload.sender.id, "U1");
});

test("what agents send goes out", async (t) => {
  const { broker, slack } = await connect(t);
  const route = slack.on("POST", "/chat.postMessage").reply(200, { json: { ok: true, ts: "1.3" } });
  await broker.send("slack", "hello", { to: "C1" });
  await broker.expectPublished("plugin.delivery.slack.*", { state: "sent", provider_id: "1.3" });
  assert.deepEqual(route.requests[0]?.json(), { channel: "C1", text: "hello" });
  assert.equal(route.requests[0]?.headers["authorization"], "Bearer xoxb-1");
});
