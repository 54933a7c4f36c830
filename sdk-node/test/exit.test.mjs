// Ends of the process: never a crash, never a hang, also beside a busy machine.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { Wire } from "./support/wire.mjs";

const NORMAL = 40;
const ABRUPT = 20;

const PLUGIN = `
  import { Plugin, Reply, run } from "trunkline";
  const plugin = new Plugin("wire");
  plugin.outbound("wire", async (payload, ctx) => {
    if (payload.n === 10 && process.env.HOW === "exit") process.exit(7);
    if (payload.n === 10 && process.env.HOW === "throw") queueMicrotask(() => { throw new Error("uncaught"); });
    if (payload.n % 3 === 0) await ctx.kv.get("x").catch(() => {});
    return new Reply(payload);
  });
  await run(plugin);
`;

/** Two loops that take what they get of the machine. */
function busy(t) {
  for (let i = 0; i < 2; i++) {
    const child = spawn(process.execPath, ["-e", "for (;;);"]);
    t.after(() => child.kill("SIGKILL"));
  }
}

async function life(t, how) {
  const wire = await Wire.start(t, PLUGIN, { env: { HOW: how } });
  for (let n = 1; n <= 30; n++) wire.deliver(n, { n });
  if (how === "eof") {
    await wire.frame((frame) => frame.method === "broker.commit");
    wire.end();
  } else if (how === "mid") {
    wire.end();
  } else if (how === "term") {
    const answering = setInterval(() => {
      const at = wire.frames.findIndex((frame) => frame.id !== undefined && frame.method);
      if (at >= 0) wire.send({ id: wire.frames.splice(at, 1)[0].id, error: { code: -32601, message: "no", data: { code: "not_implemented", retryable: false } } });
    }, 5);
    wire.child.kill("SIGTERM");
    wire.child.once("exit", () => clearInterval(answering));
  }
  const timer = setTimeout(() => wire.child.kill("SIGABRT"), 30_000);
  const ended = await wire.exited;
  clearTimeout(timer);
  return { how, ...ended, stderr: wire.stderr };
}

async function lives(t, kinds, expected) {
  const waiting = [...kinds];
  const wrong = [];
  const worker = async () => {
    for (let how = waiting.pop(); how !== undefined; how = waiting.pop()) {
      const ended = await life(t, how);
      if (ended.signal !== null || ended.code !== expected[how]) wrong.push(ended);
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  assert.deepEqual(wrong, []);
}

test(`${NORMAL} normal ends beside two busy loops: no crash, no hang`, { timeout: 120_000 }, async (t) => {
  busy(t);
  const kinds = Array.from({ length: NORMAL }, (_, i) => ["eof", "mid", "term"][i % 3]);
  await lives(t, kinds, { eof: 0, mid: 0, term: 0 });
});

test(`${ABRUPT} abrupt ends beside two busy loops: no crash, no hang`, { timeout: 120_000 }, async (t) => {
  busy(t);
  const kinds = Array.from({ length: ABRUPT }, (_, i) => ["exit", "throw"][i % 2]);
  await lives(t, kinds, { exit: 7, throw: 1 });
});
