import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./echo.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");

test("what is sent comes back", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest });
  const sending = await broker.send("echo", "hi", { to: "room-1" });
  const answer = await broker.expectPublished("plugin.inbound.echo.*", { text: "hi" });
  assert.equal(answer.correlation_id, sending.id);
  assert.equal((await sending.until("sent")).state, "sent");
});
