import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./bot.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const api = "https://discord.com/api/v10";
const config = { bot_token: "t0ken", api, gateway: "wss://gateway.discord.gg" };
const hello = { op: 10, d: { heartbeat_interval: 41_250 } };

test("what people write comes in, and a new connection resumes", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const gateway = broker.socket(config.gateway);
  const socket = await gateway.accept();
  socket.send(hello);
  const { d: identify } = await socket.expect({ op: 2 });
  assert.equal(identify.token, "t0ken");
  socket.send({ op: 0, s: 1, t: "READY", d: { session_id: "s1", resume_gateway_url: "wss://gateway-7.discord.gg" } });
  const d = { id: "9", content: "hi", author: { id: "1", username: "ada" }, channel_id: "7" };
  socket.send({ op: 0, s: 2, t: "MESSAGE_CREATE", d });
  const came = await broker.expectPublished("plugin.inbound.discord.*", { text: "hi" });
  assert.deepEqual(came.payload.conversation, { id: "7" });
  await socket.expect({ op: 1, d: 2 }, { within: "1m" });
  socket.close(1001);
  const again = await broker.socket("wss://gateway-7.discord.gg").accept();
  again.send(hello);
  const { d: resume } = await again.expect({ op: 6 });
  assert.deepEqual(resume, { token: "t0ken", session_id: "s1", seq: 2 });
});

test("what agents send goes out", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const route = broker.http(api).on("POST", "/channels/7/messages").reply(200, { json: { id: "10" } });
  await broker.send("discord", "hello", { to: "7" });
  await broker.expectPublished("plugin.delivery.discord.*", { state: "sent", provider_id: "10" });
  assert.equal(route.requests[0]?.json().content, "hello");
  assert.equal(route.requests[0]?.headers["authorization"], "Bot t0ken");
});
