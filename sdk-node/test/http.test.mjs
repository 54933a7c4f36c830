// Calls to servers outside: the ones that a test plays, and real ones on this machine.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { HttpError, Plugin, TrunklineError } from "trunkline";
import { TestBroker } from "trunkline/testing";

const config = { sid: "AC1234", token: "tok-secret" };
const TWILIO = "https://api.twilio.com";

function sms() {
  const plugin = new Plugin("twilio");
  plugin.outbound("sms", async (message, ctx) => {
    const api = ctx.http.at("https://api.twilio.com/2010/Accounts/{config.sid}", { basic: ["{config.sid}", "{config.token}"] });
    return String((await api.post("/Messages.json", { form: { Body: message.text, none: null } })).json().sid);
  });
  return plugin;
}

// Proves: 429 waits as told, does not count, and the receipt follows.
test("a 429 is waited for, and the receipt follows", async (t) => {
  const broker = await TestBroker.start(t, sms(), { config });
  const route = broker.http(TWILIO).on("POST", "*/Messages.json");
  route.reply(429, { headers: { "retry-after": "3" } }).reply(201, { json: { sid: "SM1" } });
  const sending = await broker.send("sms", "hi", { to: "+49" });
  const sent = { state: "sent", provider_id: "SM1" };
  await broker.expectNothing("plugin.delivery.sms.*", sent, { within: "2s" });
  const receipt = await broker.expectPublished("plugin.delivery.sms.*", sent, { within: "2s" });
  assert.equal(receipt.correlation_id, sending.id);
  const [first, second] = route.requests;
  assert.equal(first.path, "/2010/Accounts/AC1234/Messages.json");
  assert.deepEqual(first.form, { Body: "hi" });
  assert.match(second.headers.authorization, /^Basic /);
});

test("a final answer is a dead letter without secrets", async (t) => {
  const broker = await TestBroker.start(t, sms(), { config });
  broker.http(TWILIO).on("POST", "*").reply(400, { json: { message: "tok-secret is wrong" } });
  await broker.send("sms", "hi", { to: "+49" });
  const failed = { state: "failed", error: { code: "delivery_failed" } };
  await broker.expectPublished("plugin.delivery.sms.*", failed, { within: "1s" });
  const [letter] = await broker.deadLetters();
  assert.equal(letter.code, "delivery_failed");
  assert.doesNotMatch(JSON.stringify(letter), /tok-secret/);
});

test("an error says what happened", async (t) => {
  const plugin = new Plugin("looker");
  plugin.on("agent.look", { timeout: "20s" }, async (_, ctx) => {
    const api = ctx.http.at("https://a.example/{config.token}", { headers: { "x-key": "{config.token}" } });
    try {
      await api.post("/x", { json: { n: 2n ** 70n }, query: { q: ["a", "b"] }, timeout: "5s" });
    } catch (error) {
      assert.ok(error instanceof HttpError && error instanceof TrunklineError && error.code === "http_error");
      const { status = null, class: how, retryable, body = null, url, retryAfterMs = null } = error;
      await ctx.publish("agent.said", { said: [status, how, retryable, body, url, retryAfterMs] });
    }
  });
  const broker = await TestBroker.start(t, plugin, { config });
  const route = broker.http("https://a.example/tok-secret").on("*", "/x");
  route.reply(503, { headers: { "retry-after": "7" }, body: "for tok-secret" }).lose().refuse();
  const url = "https://a.example/{config.token}/x";
  for (const said of [
    [503, "answered", true, "for ***", url, 7000],
    [null, "ambiguous", false, null, url, null],
    [null, "not_sent", true, null, url, null],
  ]) {
    await broker.publish("agent.look", {});
    await broker.expectPublished("agent.said", { said }, { within: "1s" });
  }
  const [seen] = route.requests;
  assert.equal(seen.body.toString(), '{"n":1180591620717411303424}');
  assert.match(seen.url, /\?q=a&q=b$/);
  assert.equal(seen.headers["x-key"], "tok-secret");
});

test("waits pass on the clock of the test, and integers stay exact", async (t) => {
  const plugin = new Plugin("looker");
  plugin.on("agent.look", { timeout: "5m" }, async (_, ctx) => {
    const answer = await ctx.http.get("https://a.example/x", { query: { n: 1 } });
    assert.equal(answer.headers["x-a"], "b");
    assert.equal(answer.status, 200);
    await ctx.publish("agent.said", answer.json());
  });
  const broker = await TestBroker.start(t, plugin, { config });
  const route = broker.http("https://a.example").on("GET", "/x");
  route.reply(503, { headers: { "retry-after": "90" } }).lose();
  route.reply(200, { body: '{"n": 18446744073709551615}', headers: { "X-A": "b" } });
  await broker.publish("agent.look", {});
  await broker.expectNothing("agent.said", undefined, { within: "89s" });
  const event = await broker.expectPublished("agent.said", undefined, { within: "5s" });
  assert.equal(event.payload.n, 18446744073709551615n);
  assert.equal(route.requests.length, 3);
});

test("a call without an answer fails the test, and an option that is none is refused", async (t) => {
  const plugin = new Plugin("looker");
  plugin.on("agent.look", async (_, ctx) => {
    await assert.rejects(ctx.http.get("https://a.example/x", { jsn: 1 }), { code: "invalid_arguments" });
    assert.throws(() => ctx.http.at("https://a.example", { token: "x" }), { code: "invalid_arguments" });
    await ctx.http.get("https://a.example/x?secret=1");
  });
  const broker = await TestBroker.start(t, plugin, { config });
  await broker.publish("agent.look", {});
  const missed = broker.expectPublished("agent.said", undefined, { within: "1s" });
  await assert.rejects(missed, /no answer for GET https:\/\/a\.example\/x;/);
});

test("a real server in each of its moods", async (t) => {
  const seen = [];
  const bomb = gzipSync(Buffer.alloc(16 << 20));
  const server = createServer((request, response) => {
    seen.push(request.url);
    request.resume();
    if (request.url === "/gzip") response.setHeader("content-encoding", "gzip").end(gzipSync('{"ok": true}'));
    else if (request.url === "/bomb") response.setHeader("content-encoding", "gzip").end(bomb);
    else if (request.url === "/loop") response.writeHead(302, { location: "/loop" }).end();
    else if (request.url === "/reset") request.socket.resetAndDestroy();
    else if (request.url !== "/silent") response.writeHead(404).end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  t.after(() => server.close() && server.closeAllConnections());
  const base = `http://127.0.0.1:${server.address().port}`;
  const plugin = new Plugin("looker");
  plugin.on("agent.look", { timeout: "30s" }, async ({ path, guard }, ctx) => {
    const at = ctx.http.at(base, { guard });
    const said = await at.post(path, { json: [], timeout: path === "/silent" ? "500ms" : "20s" }).then(
      (answer) => [answer.status, answer.json()],
      (error) => [error.status ?? null, error.class, error.retryable],
    );
    await ctx.publish("agent.said", { path, said });
  });
  const broker = await TestBroker.start(t, plugin);
  broker.http(base).passThrough();
  for (const [path, said] of Object.entries({
    "/gzip": [200, { ok: true }],
    "/bomb": [200, "answered", false],
    "/loop": [302, "answered", false],
    "/reset": [null, "ambiguous", false],
    "/silent": [null, "ambiguous", false],
    "/none": [404, "answered", false],
  })) {
    await broker.publish("agent.look", { path, guard: false });
    await broker.expectPublished("agent.said", { path, said }, { within: "10m" });
  }
  assert.deepEqual(seen.filter((path) => path !== "/loop"), ["/gzip", "/bomb", "/reset", "/silent", "/none"]);
  await broker.publish("agent.look", { path: "/guarded", guard: true });
  await broker.expectPublished("agent.said", { said: [null, "not_sent", false] }, { within: "1s" });
  assert.ok(!seen.includes("/guarded"));
});

const here = dirname(fileURLToPath(import.meta.url));
const DOCS = [join(here, "..", "http-client.md"), join(here, "..", "..", "docs", "http-client.md")].find(existsSync);

// Proves: the code of docs/http-client.md runs as it stands there.
test("the example of the documentation runs", { skip: DOCS ? false : "run by check.sh" }, async (t) => {
  const [, block] = /```ts\n(.*?)```/s.exec(readFileSync(DOCS, "utf8"));
  const directory = mkdtempSync(join(here, "..", "h-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "example.mjs");
  writeFileSync(file, block);
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const ran = spawnSync(process.execPath, [file], { encoding: "utf8", env, timeout: 60_000 });
  assert.equal(ran.status, 0, ran.stdout + ran.stderr);
  assert.match(ran.stdout, /pass 1\b/);
});
