// The plugins of the API's specification, loaded as they stand there; each carries an event in the test broker.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { TestBroker } from "trunkline/testing";
import { blocks } from "./readme/extract.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const TOOLS = process.env.TRUNKLINE_NODE_TYPES;
const skip = TOOLS ? false : "run by check.sh";
const CODES = blocks(join(here, "api_patterns.md"), "ts");

/** Loads the plugin with this id, and its manifest's beginning. */
async function load(t, id) {
  const directory = mkdtempSync(join(here, "..", "a-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const { default: ts } = await import(pathToFileURL(join(TOOLS, "typescript", "lib", "typescript.js")));
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  const code = CODES.find((code) => code.includes(`new Plugin("${id}")`));
  const file = join(directory, `${id}.mjs`);
  writeFileSync(file, ts.transpileModule(code, { compilerOptions: options }).outputText);
  assert.ok(existsSync(file));
  const { plugin } = await import(pathToFileURL(file));
  return plugin;
}

const head = (id, more = "") => `[plugin]\nid = "${id}"\nversion = "0.1.0"\ncommand = ["node", "${id}.js"]\n${more}\n`;
const channel = (id) => `[[channels]]\nkind = "${id}"\n`;
const text = (key, more = "") => `[config.${key}]\ntype = "string"\n${more}\n`;

// Proves P1: the ten-line plugin of the specification sends back what it is sent.
test("pattern 1, echo", { skip }, async (t) => {
  const broker = await TestBroker.start(t, await load(t, "echo"), { manifest: head("echo") + channel("echo") });
  const sending = await broker.send("echo", { text: "hi" }, { to: "c1" });
  const reply = await broker.expectPublished("plugin.inbound.echo.default", { text: "hi" });
  assert.equal(reply.correlation_id, sending.id);
  await broker.expectPublished("plugin.delivery.echo.default", { state: "sent" });
});

test("pattern 2, webhook receiver", { skip }, async (t) => {
  const manifest = head("github") + channel("github") + text("webhook_secret", "secret = true");
  const broker = await TestBroker.start(t, await load(t, "github"), { manifest, config: { webhook_secret: "whsec" } });
  const issue = { title: "It broke", user: { login: "ana" }, html_url: "https://github.com/a/b/issues/7" };
  const opened = { json: { action: "opened", issue }, headers: { "X-GitHub-Event": "issues" }, id: "d-1" };
  assert.equal((await broker.webhook("github", opened)).status, 200);
  const event = await broker.expectPublished("plugin.inbound.github.default");
  assert.equal(event.payload.text, "It broke");
  assert.equal(event.session_id, issue.html_url);
  await broker.webhook("github", { json: { zen: "…" }, headers: { "X-GitHub-Event": "ping" }, id: "d-2" });
  await broker.expectNothing("plugin.inbound.>", undefined, { within: "1s" });
});

test("pattern 3, RPC bridge", { skip }, async (t) => {
  const manifest = head("stripe") + text("api_key", "secret = true");
  const broker = await TestBroker.start(t, await load(t, "stripe"), { manifest, config: { api_key: "sk_1" } });
  const route = broker.http("https://api.stripe.com").on("POST", "/v1/invoices");
  route.reply(200, { json: { id: "in_1", status: "draft", object: "invoice" } });
  const args = { customer: "cus_9", days_until_due: 14 };
  const made = await broker.callTool("stripe.create_invoice", args, { idempotencyKey: "k1" });
  assert.deepEqual(made, { id: "in_1", status: "draft" });
  const [request] = route.requests;
  assert.equal(request.headers.authorization, "Bearer sk_1");
  assert.equal(request.headers["idempotency-key"], "k1");
  assert.deepEqual(request.form, { customer: "cus_9", days_until_due: "14", collection_method: "send_invoice" });
});

const FEED = `<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><guid>g-1</guid><title>rust 2.0</title></item>
<item><guid>g-2</guid><title>the weather</title></item>
</channel></rss>`;

test("pattern 4, scheduled poller", { skip }, async (t) => {
  const manifest = head("rss") + channel("rss") + text("url") + text("keyword");
  const config = { url: "https://feeds.example.com/news", keyword: "rust" };
  const broker = await TestBroker.start(t, await load(t, "rss"), { manifest, config });
  const route = broker.http("https://feeds.example.com").on("GET", "/news");
  route.reply(200, { body: FEED, headers: { "content-type": "application/rss+xml" } });
  const event = await broker.expectPublished("plugin.inbound.rss.default", undefined, { within: "40m" });
  assert.equal(event.payload.text, "rust 2.0");
  await broker.expectNothing("plugin.inbound.>", undefined, { within: "1m" });
});

test("pattern 5, long-running connection", { skip }, async (t) => {
  const manifest = head("chat") + channel("chat") + text("bot_token", "secret = true\nunique = true");
  const broker = await TestBroker.start(t, await load(t, "chat"), { manifest, config: { bot_token: "t-1" } });
  const gateway = broker.socket("wss://gateway.example.com/v1");
  const first = await gateway.accept();
  first.send({ op: "hello", every: "30s" });
  assert.deepEqual(await first.expect({ op: "login" }), { op: "login", token: "t-1", resume: null });
  first.send({ op: "message", seq: 4, text: "hi" });
  await first.expect({ op: "ack", seq: 4 });
  await broker.expectPublished("plugin.inbound.chat.default", { text: "hi" });
  assert.deepEqual(await first.expect({ op: "beat" }, { within: "61s" }), { op: "beat", seq: 4 });
  first.send({ op: "beat_ack" });
  first.send({ op: "reconnect" });
  const second = await gateway.accept();
  assert.equal((await first.expectClosed()).code, 4000);
  second.send({ op: "hello", every: "30s" });
  await second.expect({ op: "login", resume: 4 });
  second.send({ op: "invalid" });
  const third = await gateway.accept({ within: "10s" });
  third.send({ op: "hello", every: "30s" });
  await third.expect({ op: "login", resume: null });
  third.close(4004, "bad token");
  await assert.rejects(gateway.accept({ within: "5m" }), /the plugin does not try to connect/);
});

// Proves P8a, Node part: the plugin of the specification serves two accounts alike.
test("pattern 8, multi-instance provider", { skip }, async (t) => {
  const secret = text("bot_token", "secret = true\nunique = true");
  const manifest = head("telegram", 'isolation = "shared"') + channel("telegram") + secret;
  const options = { manifest, config: { bot_token: "t-1" }, instances: ["support", "sales"] };
  const broker = await TestBroker.start(t, await load(t, "telegram"), options);
  const api = broker.http("https://api.telegram.org/bott-1");
  const me = api.on("POST", "/getMe").reply(200, { json: { result: { id: 1, username: "bot" } } });
  api.on("POST", "/sendMessage").reply(200, { json: { result: { message_id: 5 } } });
  const update = { update_id: 7, message: { text: "hi", chat: { id: 12 } } };
  const asked = api.on("POST", "/getUpdates").reply(200, { json: { result: [update] } });
  asked.reply(503, { headers: { "retry-after": "60" } });
  const event = await broker.expectPublished("plugin.inbound.telegram.*", { text: "hi" });
  assert.equal(event.payload.conversation.id, "12");
  assert.equal(me.requests.length, 2);
  assert.deepEqual(asked.requests[0].json(), { offset: 0, timeout: 25, allowed_updates: ["message"] });
  for (const instance of ["support", "sales"]) {
    const sending = await broker.send("telegram", "hello", { to: "12", instance });
    const receipt = await broker.expectPublished(`plugin.delivery.telegram.${instance}`, { state: "sent" });
    assert.equal(receipt.correlation_id, sending.id);
    assert.equal(receipt.payload.provider_id, "5");
  }
});
