// The scenarios of `patterns/scenarios`, played against plugins in JavaScript; Rust and Python play the same files.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Batch, Event, Part, Plugin, Reject, Reply, ToolError } from "trunkline";
import { play } from "trunkline/testing";

const ROOT = process.env.TRUNKLINE_ROOT ?? join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const SCENARIOS = join(ROOT, "patterns", "scenarios");
const read = (name) => readFileSync(join(SCENARIOS, `${name}.json`), "utf8");

const plugins = {
  assembler() {
    const plugin = new Plugin("sms");
    plugin.on("agent.part", { name: "parts" }, async ({ text, of }) => new Part(text, of));
    plugin.assemble("sms", { silence: "30s", maxAge: "70s", maxParts: 4 }, async (parts, ctx) => {
      const { missing, reason: why } = ctx.assembly;
      const text = parts.map((part) => part.data).join(missing.length ? "…" : "");
      if (text === "poison") throw new Reject("nobody can read this");
      return Event.inbound({ text, conversation: { id: parts[0].session }, why });
    });
    return plugin;
  },
  outbound() {
    const plugin = new Plugin("sms");
    plugin.outbound("sms", { rate: "100/s", idempotent: true }, async (message, ctx) => {
      const api = ctx.http.at("https://sms.example");
      const json = { text: message.text, key: ctx.idempotencyKey };
      return (await api.post("/messages", { json, idempotencyKey: ctx.idempotencyKey })).json().sid;
    });
    return plugin;
  },
  connection() {
    const plugin = new Plugin("chat");
    const backoff = { initial: "5ms", cap: "20ms" };
    plugin.connect("chat", { url: "{config.server}", backoff }, async (line, ctx) => {
      if (line === "HELLO") return ctx.conn.send(`RESUME ${ctx.conn.cursor ?? 0}`);
      const [, seq, text] = /^MSG (\d+) (.*)$/.exec(line) ?? [];
      if (seq === undefined) throw new Reject("not a line of this server");
      return new Batch([Event.inbound({ text })], { cursor: Number(seq), ack: `ACK ${seq}` });
    });
    plugin.outbound("chat", async (message, ctx) => ctx.conn.send(`SAY ${message.text}`));
    return plugin;
  },
  poller() {
    const plugin = new Plugin("api");
    plugin.poll("api", { every: "2m", jitter: "0s" }, async (cursor, ctx) => {
      const found = (await ctx.http.get("https://api.example/updates", { query: { after: cursor ?? 0 } })).json();
      const events = found.map(({ text }) => Event.inbound({ text, conversation: { id: "updates" } }));
      return new Batch(events, { cursor: found.at(-1)?.id ?? cursor });
    });
    return plugin;
  },
  feed() {
    const plugin = new Plugin("rss");
    plugin.poll("rss", { feed: "{config.url}", every: "2m", jitter: "0s" }, ({ title: text }) =>
      Event.inbound({ text, conversation: { id: "news" } }),
    );
    return plugin;
  },
  timers() {
    const plugin = new Plugin("clock");
    plugin.timer("tick", { every: "5m", data: 7 }, ({ name, data, missed }) =>
      Event.new("agent.tick", "", { name, data, missed }),
    );
    plugin.on("agent.stop", { name: "stops" }, async (_, ctx) => void (await ctx.timer.cancel("tick")));
    return plugin;
  },
  webhook() {
    const plugin = new Plugin("forge");
    plugin.webhook("forge", { verify: "github", secret: "{config.secret}" }, async (request) => {
      const { titles } = request.json();
      if (request.headers["x-event"] !== "opened") return [];
      return titles.map((text) => Event.inbound({ text, conversation: { id: "repo" } }));
    });
    return plugin;
  },
  tool() {
    const plugin = new Plugin("sums");
    const number = { type: "integer" };
    const input = { type: "object", properties: { a: number, b: number }, required: ["a", "b"] };
    plugin.tool("add", { description: "Adds two numbers.", input, output: number }, async ({ a, b }) => {
      if (a < 0) throw new ToolError("only what is there is added");
      return a + b;
    });
    return plugin;
  },
  echo() {
    const plugin = new Plugin("echo");
    plugin.outbound("echo", async (message) => new Reply(message.text));
    return plugin;
  },
};

// Proves P1, P2f, P3a, P3b, P4b, P4d, P5b, P6a, P6b, P7a, P7b, P7c, P8a, LN22, LN27, transcripts: one file, three languages.
for (const file of readdirSync(SCENARIOS)) {
  const name = file.replace(/\.json$/, "");
  test(`the ${name} does what its scenario says`, async () => {
    const transcript = await play(plugins[name](), read(name));
    assert.deepEqual(Object.keys(transcript.at(-1)).sort(), ["dead_letters", "state"]);
  });
}

test("a scenario that does not hold fails", async () => {
  const wrong = read("timers").replace('"missed": 0', '"missed": 7');
  await assert.rejects(play(plugins.timers(), wrong), { name: "AssertionError", message: /missed/ });
});
