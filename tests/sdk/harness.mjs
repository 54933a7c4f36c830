// The plugin of the fault suites in JavaScript: it writes the shared history and echoes; the same in `harness.py`.
import { openSync, readFileSync, writeSync } from "node:fs";
import { Plugin, Reply, run } from "trunkline";

const CREDIT = 16;
const LINK = 2 ** 32 + process.pid;

const plugin = new Plugin("harness", { version: "0.1.0", credit: { events: CREDIT, bytes: 8 << 20 } });
let history = -1;
let handled = 0;

function fnv1a(bytes) {
  let value = 0xcbf29ce484222325n;
  for (const byte of bytes) value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n);
  return value;
}

function record(what, hash) {
  const at = Number(process.hrtime.bigint() / 1_000_000n);
  const line = JSON.stringify({ at, what }).replace('"hash":0', `"hash":${hash}`);
  writeSync(history, `${line}\n`);
}

plugin.onStart(async (ctx) => {
  history = openSync(ctx.config.history, "a");
  const life = Number(readFileSync(ctx.config.life, "utf8"));
  record({ type: "attach", sub: "instance.harness.main", link: LINK, life, pid: process.pid, credit: CREDIT });
});

plugin.outbound("harness", async (payload, ctx) => {
  handled += 1;
  const { event, delivery } = ctx;
  const { attempt, redelivered, subscription: sub } = delivery;
  const settled = { sub, delivery: `${LINK}-${handled}`, id: event.id };
  const session = event.session_id ?? null;
  record({ type: "dlv", ...settled, link: LINK, session, hash: 0, attempt, redelivered, lease_ms: 30000 }, fnv1a(event.raw));
  record({ type: "ack.sent", ...settled });
  return new Reply(payload);
});

await run(plugin);
