// Starts what a scaffold's own config names, passes an event through it, and stops it:
// `node live.mjs PATTERN DIR OUTSIDE TRUNKLINE`, with the address of outside.mjs and the command of a package.
//
// The config gets what a user fills in: where the other side is, and secrets. All of its instances have to become ready; the
// daemon has to end with 0 at SIGTERM, and no process that it started may be left.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { appendFileSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";

const [pattern, dir, outside, trunkline] = process.argv.slice(2);
const LIMIT_MS = 60_000;
const LEFT_MS = 5_000;
const secret = Buffer.from("a secret of thirty-two bytes ...");
const env = {
  ...process.env,
  GITHUB_SITE_SECRET: "site", GITHUB_APP_SECRET: "app",
  SMS_OFFICE_SECRET: `whsec_${secret.toString("base64")}`, SMS_SHOP_SECRET: "whsec_c2VjcmV0",
  STRIPE_LIVE_KEY: "sk_1", STRIPE_SANDBOX_KEY: "sk_2",
  CHAT_SUPPORT_TOKEN: "t0ken", CHAT_SALES_TOKEN: "t0ken-of-sales",
  TWILIO_TOKEN: "t0ken",
};
const id = /^id = "(.*)"$/m.exec(readFileSync(join(dir, "plugin.toml"), "utf8"))[1];

/** Starts a program in the scaffold's directory, in a time that ends. */
function start(args, stdin = "ignore") {
  const child = spawn(trunkline, args, { cwd: dir, env, stdio: [stdin, "pipe", "inherit"] });
  const timer = setTimeout(() => {
    console.error(`error: trunkline ${args.join(" ")} has not ended after ${LIMIT_MS / 1000} s`);
    child.kill("SIGKILL");
  }, LIMIT_MS);
  child.ended = new Promise((resolve) => child.on("close", (code, signal) => (clearTimeout(timer), resolve(code ?? signal))));
  return child;
}

/** Runs a command of the package, and gives what it printed. */
async function run(...args) {
  const child = start(args);
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
  assert.equal(await child.ended, 0, `trunkline ${args.join(" ")}`);
  return out;
}

/** Gives the payload of the first event on these topics, and waits for it. */
const first = async (topic) => JSON.parse(await run("tail", topic, "--start", "earliest", "-n", "1", "--json")).event.payload;
const publish = (topic, payload) => run("publish", topic, JSON.stringify(payload));

async function post(path, body, headers) {
  const address = readFileSync(join(dir, ".trunkline/http.addr"), "utf8").trim();
  const response = await fetch(address + path, { method: "POST", body, headers });
  assert.equal(response.status, 200, `${path}: ${await response.text()}`);
}

/** Calls a tool as an MCP client does. */
async function call(name, args) {
  const child = start(["mcp"], "pipe");
  const say = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const clientInfo = { name: "templates", version: "1" };
  say({ id: 0, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo } });
  for await (const line of createInterface({ input: child.stdout })) {
    const answer = JSON.parse(line);
    if (answer.id === 0) {
      say({ method: "notifications/initialized" });
      say({ id: 1, method: "tools/call", params: { name, arguments: args } });
    } else if (answer.id === 1) {
      child.stdin.end();
      await child.ended;
      return answer.result;
    }
  }
  throw new Error("trunkline mcp ended without an answer");
}

/** What is filled in, and the event, of each pattern. */
const patterns = {
  echo: {
    async event() {
      await publish("plugin.outbound.echo.two", { text: "hi" });
      assert.equal((await first("plugin.inbound.echo.two")).text, "hi");
    },
  },
  webhook: {
    async event() {
      const issue = { title: "It works", user: { login: "ada" }, html_url: "https://github.com/a/b/issues/1" };
      const body = JSON.stringify({ action: "opened", issue });
      const signature = `sha256=${createHmac("sha256", "site").update(body).digest("hex")}`;
      const headers = { "x-github-event": "issues", "x-github-delivery": "1", "x-hub-signature-256": signature };
      await post("/hooks/github/site", body, { "content-type": "application/json", ...headers });
      assert.equal((await first("plugin.inbound.github.site")).text, "It works");
    },
  },
  tool: {
    fill: () => defaults(`api = "${outside}/v1"`),
    async event() {
      const made = await call(`${id}__create_invoice__sandbox`, { customer: "cus_9", days_until_due: 14 });
      assert.deepEqual(made.structuredContent, { id: "in_1", status: "draft" }, JSON.stringify(made));
    },
  },
  poller: {
    fill: () => replace(/^url = ".*"$/gm, `url = "${outside}/feed.xml"`),
    async event() {
      // What a feed has at first is not new.
      await run("pollers", "run", `${id}/python`);
      await run("pollers", "run", `${id}/python`);
      assert.match((await first("plugin.inbound.news.python")).text, /^Python 3 has item \d+$/);
    },
  },
  connection: {
    fill: () => defaults(`url = "${outside.replace(/^http/, "ws")}/gateway"`),
    async event() {
      assert.equal((await first("plugin.inbound.chat.support")).text, "hi");
      const text = `hello from ${basename(dir)} ${process.pid}`;
      await publish("plugin.outbound.chat.support", { text, conversation: { id: "lobby" } });
      assert.equal((await first("plugin.delivery.chat.support")).state, "sent");
      const said = await (await fetch(`${outside}/said`)).json();
      assert.ok(said.some((line) => line.op === "say" && line.room === "lobby" && line.text === text), JSON.stringify(said));
    },
  },
  assembler: {
    async event() {
      for (const [part, text] of [[2, "world"], [1, "hello "]]) {
        const body = JSON.stringify({ from: "+491511", ref: "a", part, parts: 2, text });
        const [name, time] = [`msg_${part}`, String(Math.floor(Date.now() / 1000))];
        const signature = `v1,${createHmac("sha256", secret).update(`${name}.${time}.${body}`).digest("base64")}`;
        const headers = { "webhook-id": name, "webhook-timestamp": time, "webhook-signature": signature };
        await post("/hooks/sms/office", body, { "content-type": "application/json", ...headers });
      }
      assert.equal((await first("plugin.inbound.sms.office")).text, "hello world");
    },
  },
  outbound: {
    fill: () => defaults(`api = "${outside}"`),
    async event() {
      await publish("plugin.outbound.sms.office", { text: "hi", conversation: { id: "+15005550009" } });
      const receipt = await first("plugin.delivery.sms.office");
      assert.deepEqual([receipt.state, receipt.provider_id], ["sent", "SM1"], JSON.stringify(receipt));
    },
  },
  "multi-instance": {
    async event() {
      await publish("plugin.outbound.watcher.support", { text: "a refund, please" });
      assert.equal((await first("plugin.inbound.watcher.support")).text, "support saw 1");
    },
  },
};

const config = join(dir, "trunkline.toml");
const defaults = (line) => appendFileSync(config, `\n[plugin_defaults.${id}]\n${line}\n`);
const replace = (what, by) => writeFileSync(config, readFileSync(config, "utf8").replace(what, by));

/** Gives the processes below this one: their number, and when they began. */
function below(pid) {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(stat).filter((each) => each !== undefined);
  const found = all.filter((each) => each.parent === pid);
  return found.concat(found.flatMap((each) => below(each.pid)));
}

function stat(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
    return { pid: Number(pid), parent: Number(fields[1]), begin: fields[19] };
  } catch {
    return undefined; // it has just ended
  }
}

/** Waits until every instance is ready: asks again as soon as it was answered. */
async function ready() {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    const { instances } = JSON.parse(await run("status", "--json"));
    if (instances.length === 2 && instances.every((each) => each.state === "ready")) return;
    assert.ok(Date.now() < end, `not all are ready: ${JSON.stringify(instances)}`);
  }
}

/** Waits until none of these processes is there; the one that guards against a killed daemon ends just after it. */
async function gone(processes) {
  const end = Date.now() + LEFT_MS;
  for (;;) {
    const left = processes.filter((each) => stat(each.pid)?.begin === each.begin);
    if (left.length === 0) return;
    assert.ok(Date.now() < end, `processes are left: ${JSON.stringify(left)}`);
    await new Promise(setImmediate);
  }
}

patterns[pattern].fill?.();
const daemon = start(["up", "--set", "http.listen=127.0.0.1:0"]);
try {
  await new Promise((resolve, reject) => {
    createInterface({ input: daemon.stdout }).on("line", (line) => line === "ready" && resolve());
    daemon.ended.then((code) => reject(new Error(`trunkline up ended with ${code}`)));
  });
  await ready();
  await patterns[pattern].event();
  const started = below(daemon.pid);
  assert.ok(started.length > 0, "there is no process of the plugin");
  daemon.kill("SIGTERM");
  assert.equal(await daemon.ended, 0, "the daemon's exit status");
  await gone(started);
} catch (error) {
  console.error(error);
  // A launcher that is killed cannot pass it on.
  for (const { pid } of below(daemon.pid)) process.kill(pid, "SIGKILL");
  daemon.kill("SIGKILL");
  process.exit(1);
}
console.log(`live: ${pattern} carried an event and stopped`);
