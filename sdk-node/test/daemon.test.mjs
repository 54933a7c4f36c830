// Plugins and clients with a real daemon.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Client } from "trunkline";
import { Daemon, manifest } from "./support/daemon.mjs";

const ECHO = `
import { Plugin, Reply, isMain, run } from "trunkline";
export const plugin = new Plugin("echo");
plugin.outbound("echo", async (payload) => new Reply(payload));
if (isMain(import.meta)) await run(plugin);
`;

// Proves P1, Node part: the ten-line echo under the daemon, and X5, Linux x86_64: without compiling anything.
test("the ten-line echo runs under the daemon, and its instance has the logs", async (t) => {
  const daemon = await Daemon.start(t, {
    echo: ECHO,
    talk: { toml: '[capabilities]\nsubscribe = ["agent.talk"]', code: `
      import { Plugin, run } from "trunkline";
      const plugin = new Plugin("talk");
      plugin.onStart((ctx) => { console.info("begun as %s", ctx.instance); ctx.log.warning("careful", { n: 1 }); });
      plugin.on("agent.talk", { name: "talk" }, async (payload, ctx) => {
        console.debug("debug %d", 1); console.log("log", { a: 1 }); console.warn("warn"); console.error(new RangeError("shown"));
        ctx.log.error("own", { cause: new Error("inner") });
        process.stdout.write("raw out\\n"); process.stderr.write("raw err\\n");
        throw new TypeError("handler " + payload.n);
      });
      await run(plugin);
    ` },
  }, { config: '[grants.talk]\nsubscribe = ["agent.talk"]' });
  const client = await daemon.client(t);
  const answers = client.subscribe("plugin.inbound.echo.>", { name: "a", start: "earliest" });
  const sending = await client.send("echo", "hi", { to: "me" });
  assert.equal((await sending.until("sent", { timeout: "5s" })).state, "sent");
  const { value } = await answers.next();
  assert.deepEqual([value.payload.text, value.event.session_id, value.event.source], ["hi", "me", "echo/default"]);
  value.ack();
  await client.publish("agent.talk", { n: 7 });
  await daemon.logged("talk", /main\.mjs:\d+.*handler 7/);
  const logs = daemon.logs("talk");
  for (const line of [/log +info +begun as default/, /log +warn +careful/, /log +info +log \{ a: 1 \}/, /log +warn +warn/, /log +error +RangeError: shown/, /log +error +own/, /stdout .*raw out/, /stderr .*raw err/]) {
    assert.match(logs, line);
  }
  assert.equal(logs.match(/begun as default/g).length, 1, "nothing is said twice");
});

// Proves LN15, Node part: a subscriber gets what a start waits for, with its data, until the start ends.
test("a start shows what a person has to do", async (t) => {
  const daemon = await Daemon.start(t, {
    scans: `
      import { existsSync } from "node:fs";
      import { setTimeout as sleep } from "node:timers/promises";
      import { Plugin, run } from "trunkline";
      const plugin = new Plugin("scans");
      plugin.onStart(async (ctx) => {
        while (!existsSync("scanned")) {
          ctx.progress({ done: 1, total: 2, message: "scan the code", data: { qr: "2@abc" } });
          await sleep(10);
        }
      });
      await run(plugin);
    `,
  }, { late: ["scans"] });
  const client = await daemon.client(t);
  const told = client.subscribe("plugin.lifecycle.scans.>", { name: "a", start: "earliest" });
  const hear = async (fits) => {
    for (;;) {
      const { value } = await told.next();
      value.ack();
      if (fits(value.payload)) return value.payload;
    }
  };
  const waits = await hear((said) => said.progress);
  assert.deepEqual([waits.state, waits.reason], ["starting", "scan the code"]);
  assert.deepEqual(waits.progress.data, { qr: "2@abc" });
  const { writeFileSync } = await import("node:fs");
  writeFileSync(`${daemon.directory}/plugins/scans/scanned`, "");
  assert.equal((await hear((said) => said.state === "ready")).progress, undefined);
});

// Proves L8 and LN13, Node part: hooks run once on shutdown, SIGTERM and an operator's restart, after what is in flight; the end of the link is in wire.test.mjs.
test("on_stop runs once: when the daemon stops, on SIGTERM after what is in flight, and on a restart", async (t) => {
  const daemon = await Daemon.start(t, {
    stops: `
      import { appendFileSync, existsSync } from "node:fs";
      import { Plugin, run } from "trunkline";
      const plugin = new Plugin("stops");
      const say = (what) => appendFileSync("said", what + "\\n");
      plugin.onStart(() => say("start"));
      plugin.onStop(async () => { await null; say("stop"); });
      plugin.outbound("stops", async () => { say("begin"); while (!existsSync("go-on")) await new Promise((resolve) => setTimeout(resolve, 10)); say("end"); });
      await run(plugin);
      say("after");
    `,
  });
  const { readFileSync, writeFileSync } = await import("node:fs");
  const said = () => readFileSync(`${daemon.directory}/plugins/stops/said`, "utf8").trim().split("\n");
  const saidAll = async (lines) => {
    for (let i = 0; i < 400 && said().length < lines.length; i++) await sleep(20);
    await sleep(50);
    assert.deepEqual(said(), lines);
  };
  const client = await daemon.client(t);
  await client.send("stops", "x", { to: "x" });
  await saidAll(["start", "begin"]);
  process.kill(daemon.pid("stops"), "SIGTERM");
  // Long enough for the signal to be there first, nearly always: that it is waited for is seen then.
  await sleep(200);
  writeFileSync(`${daemon.directory}/plugins/stops/go-on`, "");
  const first = ["start", "begin", "end", "stop", "after"];
  await saidAll([...first, "start"]);
  // An operator's restart ends one life in order before the next begins.
  daemon.cli("plugins", "restart", "stops");
  const second = [...first, "start", "stop", "after"];
  await saidAll([...second, "start"]);
  await client.close();
  await daemon.stop();
  await saidAll([...second, "start", "stop", "after"]);
});

test("a rejection that nobody handles is logged with its place, and the plugin is started again", async (t) => {
  const daemon = await Daemon.start(t, {
    loose: `
      import { Plugin, run } from "trunkline";
      const plugin = new Plugin("loose");
      plugin.outbound("loose", async (payload, ctx) => {
        if (ctx.delivery.attempt === 1 && payload.text === "reject") Promise.reject(new RangeError("loose end"));
        if (ctx.delivery.attempt === 1 && payload.text === "throw") setTimeout(() => { throw new RangeError("late") }, 1);
        await new Promise((resolve) => setTimeout(resolve, 50));
        return "done";
      });
      await run(plugin);
    `,
  });
  const client = await daemon.client(t);
  for (const [text, pattern] of [["reject", /a rejection that nobody handles: main\.mjs:5: RangeError: loose end/], ["throw", /an exception that nobody catches: main\.mjs:6: RangeError: late/]]) {
    const sending = await client.send("loose", text, { to: "x" });
    assert.equal((await sending.until("sent", { timeout: "30s" })).providerId, "done");
    await daemon.logged("loose", pattern);
  }
});

// Proves LN16, Node part: a blocked loop makes the instance degraded, and nothing is lost.
test("a blocked loop is degraded, then ready again", async (t) => {
  const daemon = await Daemon.start(t, {
    blocks: `
      process.env.TRUNKLINE_BLOCKED_MS = "1000";
      const { Plugin, run } = await import("trunkline");
      const plugin = new Plugin("blocks");
      plugin.outbound("blocks", (payload) => {
        for (const until = Date.now() + (payload.text === "block" ? 10_000 : 0); Date.now() < until;);
        return payload.text;
      });
      await run(plugin);
    `,
  });
  const client = await daemon.client(t);
  const begun = Date.now();
  const sent = [await client.send("blocks", "block", { to: "0" }), await client.send("blocks", "next", { to: "1" })];
  const state = async (word) => {
    for (let i = 0; i < 100; i++) {
      if (new RegExp(`blocks/default +${word}`).test(daemon.cli("status"))) return;
      await sleep(50);
    }
    assert.fail(daemon.cli("status"));
  };
  await state("degraded");
  assert.ok(Date.now() - begun < 9_000, "while it blocks");
  for (const sending of sent) await sending.until("sent", { timeout: "30s" });
  await state("ready");
});

// Proves H3, Node part: a plugin publishes before its first event, through the adapter's sender.
test("the adapter publishes before the first event, answers, and stops in order", async (t) => {
  const daemon = await Daemon.start(t, {
    low: `
      import { readFileSync } from "node:fs";
      import { Event, PluginAdapter } from "trunkline";
      const adapter = new PluginAdapter({
        manifestToml: readFileSync("plugin.toml", "utf8"),
        onEvent: async (topic, event, broker) => {
          const back = topic.replace("plugin.outbound.", "plugin.inbound.");
          await broker.publish(back, Event.new(back, "me", { got: event.payload, instance: broker.instance }));
        },
        onShutdown: (ctx) => console.log("shut down", ctx.instance),
      });
      const early = adapter.broker.publish("plugin.inbound.low.default", Event.new("ignored", "me", { early: true }));
      early.then((published) => console.log("early", published.seq > 0, adapter.instance));
      await adapter.run();
    `,
  });
  const client = await daemon.client(t);
  const answers = client.subscribe("plugin.inbound.low.>", { name: "a", start: "earliest" });
  const early = (await answers.next()).value;
  assert.deepEqual(early.payload, { early: true });
  assert.equal(early.event.source, "low/default");
  assert.equal(early.event.metadata.claimed_source, "me");
  early.ack();
  await client.send("low", "hi", { to: "me" });
  const { value } = await answers.next();
  assert.deepEqual([value.payload.got.text, value.payload.instance], ["hi", "default"]);
  value.ack();
  await daemon.logged("low", /early true default/);
  process.kill(daemon.pid("low"), "SIGTERM");
  await daemon.logged("low", /shut down default/);
});

test("a client connects again when the daemon does, and loses nothing", async (t) => {
  const daemon = await Daemon.start(t, { echo: ECHO });
  const seen = [];
  const client = await daemon.client(t, "agent", (client) => {
    client.on("plugin.inbound.echo.>", { name: "in", timeout: "10s" }, (payload) => void seen.push(payload.text));
  });
  await client.send("echo", "one", { to: "me" });
  for (let i = 0; i < 200 && seen.length < 1; i++) await sleep(20);
  await daemon.stop("SIGKILL");
  const meanwhile = client.publish("plugin.outbound.echo", { text: "meanwhile" }).then(() => "sent", (error) => error.code);
  await daemon.up(["echo"]);
  for (let i = 0; ; i++) {
    try {
      await client.send("echo", "two", { to: "me" });
      break;
    } catch (error) {
      if (i > 200) throw error;
      await sleep(50);
    }
  }
  for (let i = 0; i < 400 && !seen.includes("two"); i++) await sleep(20);
  assert.ok(["sent", "link_lost", "unavailable"].includes(await meanwhile));
  // What was not settled when the daemon was killed comes again, and in order.
  assert.deepEqual([...new Set(seen)].filter((text) => text !== "meanwhile"), ["one", "two"]);
});

// Proves X3, Node part: an instance attached by hand runs its own hooks, and is one.
test("a plugin that is started by hand attaches, connects again, and stops on SIGINT", async (t) => {
  const { spawn } = await import("node:child_process");
  const { once } = await import("node:events");
  const daemon = await Daemon.start(t, {
    byhand: {
      keys: "enabled = false",
      code: `
        import { Plugin, Reply, run } from "trunkline";
        const plugin = new Plugin("byhand");
        plugin.onStart((ctx) => console.log("started", ctx.instance));
        plugin.onStop(() => console.log("stopped"));
        plugin.outbound("byhand", async (payload) => { console.log("got", payload.text); return new Reply(payload); });
        await run(plugin);
      `,
    },
  });
  const child = spawn(process.execPath, ["main.mjs"], {
    cwd: `${daemon.directory}/plugins/byhand`,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, TRUNKLINE_SOCKET: daemon.socket },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data));
  t.after(() => child.kill("SIGKILL"));
  const exited = once(child, "exit");
  const echoes = async (text) => {
    const client = new Client("hand", { socket: daemon.socket });
    await client.connect();
    const sending = await client.send("byhand", text, { to: "x" });
    assert.equal((await sending.until("sent", { timeout: "15s" })).state, "sent");
    await client.close();
  };
  await echoes("one");
  assert.match(output, /got one/, "what it says is on the terminal, too");
  assert.match(daemon.logs("byhand"), /log +info +got one/);
  const second = spawn(process.execPath, ["main.mjs"], { cwd: `${daemon.directory}/plugins/byhand`, stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, TRUNKLINE_SOCKET: daemon.socket } });
  t.after(() => second.kill("SIGKILL"));
  let refused = "";
  second.stderr.on("data", (data) => (refused += data));
  const [status] = await once(second, "close");
  assert.notEqual(status, 0);
  assert.match(refused, /instance_busy/);
  assert.deepEqual(output.match(/^(started|stopped)/gm), ["started"]);
  await daemon.stop("SIGKILL");
  await daemon.up([]);
  await echoes("two");
  child.kill("SIGINT");
  assert.deepEqual(await exited, [0, null]);
  // The daemon that was killed ended one life, and the interrupt the other.
  assert.deepEqual(output.match(/^(started|stopped)/gm), ["started", "stopped", "started", "stopped"], output);
});

test("without a daemon, a plugin that is started by hand says so and ends", async () => {
  const { spawnSync } = await import("node:child_process");
  const code = `import { Plugin, run } from "trunkline"; await run(new Plugin("x"));`;
  const env = { ...process.env, TRUNKLINE_SOCKET: "/nowhere/trunkline.sock" };
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], { env, encoding: "utf8", cwd: import.meta.dirname, stdio: ["ignore", "pipe", "pipe"] });
  assert.equal(status, 69);
  assert.match(stderr, /^error: unavailable: expected a daemon at \/nowhere\/trunkline\.sock/);
});

test("a start that fails stops the instance as it says: fatal, a login, a config that does not fit", async (t) => {
  const start = (id, what) => `
    import { Fatal, NeedsAuth, Plugin, run } from "trunkline";
    const schema = { "~standard": { version: 1, vendor: "t", validate: (value) => (value.a ? { value } : { issues: [{ message: "is missing", path: ["a"] }] }) } };
    const plugin = new Plugin("${id}", ${id === "misfit" ? "{ config: schema }" : "{}"});
    plugin.onStart(() => { ${what} });
    await run(plugin);
  `;
  const daemon = await Daemon.start(t, { echo: ECHO });
  const { mkdirSync, writeFileSync, appendFileSync } = await import("node:fs");
  for (const [id, what] of [["gone", 'throw new Fatal("no such account")'], ["login", 'throw new NeedsAuth("log in", "https://example.com/login")'], ["misfit", ""]]) {
    mkdirSync(`${daemon.directory}/plugins/${id}`);
    writeFileSync(`${daemon.directory}/plugins/${id}/plugin.toml`, manifest(id));
    writeFileSync(`${daemon.directory}/plugins/${id}/main.mjs`, start(id, what));
    appendFileSync(`${daemon.directory}/trunkline.toml`, `[[plugins.${id}]]\n`);
  }
  daemon.cli("config", "reload");
  const expected = [/gone\/default +(fatal|failed|stopped|gave_up).*no such account/, /login\/default +needs_auth.*log in/, /misfit\/default .*\/a: is missing/];
  let status = "";
  for (let i = 0; i < 150; i++) {
    status = daemon.cli("status");
    if (expected.every((pattern) => pattern.test(status))) return;
    await sleep(100);
  }
  assert.fail(status);
});
