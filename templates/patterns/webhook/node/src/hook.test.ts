import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { TestBroker } from "trunkline/testing";
import { plugin } from "./hook.js";

const manifest = readFileSync(new URL("../plugin.toml", import.meta.url), "utf8");
const config = { webhook_secret: "s3cret" };
const issue = { title: "It is down", user: { login: "ada" }, html_url: "https://github.com/a/b/issues/1" };

test("an issue that is opened is an event", async (t) => {
  const broker = await TestBroker.start(t, plugin, { manifest, config });
  const headers = { "x-github-event": "issues" };
  for (const action of ["opened", "closed"]) {
    const answer = await broker.webhook("github", { json: { action, issue }, headers });
    assert.equal(answer.status, 200);
  }
  const event = await broker.expectPublished("plugin.inbound.github.*", { text: "It is down" });
  assert.equal(event.payload.sender.id, "ada");
  await broker.expectNothing("plugin.inbound.github.*", undefined, { within: "1m" });
});
