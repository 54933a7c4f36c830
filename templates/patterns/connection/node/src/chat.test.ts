import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./chat.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const url = "wss://gateway.example.com/v1";

test("it resumes where the events are durable", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config: { url, token: "t0ken" } });
  const gateway = broker.socket(url);
  for (const resume of [null, 7]) {
    const peer = await gateway.accept();
    peer.send({ op: "hello", every: "30s" });
    const login = await peer.expect({ op: "login" });
    assert.deepEqual(login, { op: "login", token: "t0ken", resume });
    if (resume !== null) return;
    peer.send({ op: "message", seq: 7, room: "lobby", text: "hi" });
    await peer.expect({ op: "ack", seq: 7 });
    await broker.expectPublished("plugin.inbound.chat.*", { text: "hi" });
    await broker.send("chat", "hello", { to: "lobby" });
    await peer.expect({ op: "say", room: "lobby", text: "hello" });
    peer.close(1001);
  }
});
