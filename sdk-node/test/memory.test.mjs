// A flood fills no memory: what is not handled yet is the credit window, not the queue.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Wire } from "./support/wire.mjs";
import { Daemon } from "./support/daemon.mjs";

const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

test("a flood of 20,000 events to a slow handler grows the process by at most 40 MB and the window", { timeout: 120_000 }, async (t) => {
  const daemon = await Daemon.start(t, {
    slow: `
      import { Plugin, run } from "trunkline";
      const plugin = new Plugin("slow");
      let gate = new Promise((resolve) => process.once("SIGUSR2", resolve));
      plugin.outbound("slow", async () => { await gate; });
      await run(plugin);
    `,
  });
  const client = await daemon.client(t);
  const pid = daemon.pid("slow");
  const before = rss(pid);
  const sent = [];
  for (let n = 0; n < 20_000; n++) {
    sent.push(client.publish("plugin.outbound.slow", { n, filler: "x".repeat(300) }, { session: `${n % 500}` }));
    if (sent.length === 500) await Promise.all(sent.splice(0));
  }
  await sleep(300);
  const after = rss(pid);
  t.diagnostic(`RSS ${before.toFixed(1)} MB before, ${after.toFixed(1)} MB with 20,000 events queued`);
  assert.ok(after - before <= 40 + 8, `${before} MB before, ${after} MB after`);
});

// The short form still warms up in its quarters (V8 grows its young generation); the promise is the long form's.
const [SOAK, GROWTH_MB] = process.env.TRUNKLINE_SOAK ? [500_000, 10] : [20_000, 60];

test("a soak: memory, descriptors and threads do not grow", { timeout: 600_000 }, async (t) => {
  const wire = await Wire.start(t, `
    import { Plugin, Reply, run } from "trunkline";
    const plugin = new Plugin("wire");
    plugin.outbound("wire", async (payload) => new Reply(payload));
    await run(plugin);
  `);
  const pid = wire.child.pid;
  const look = () => ({ rss: rss(pid), fds: readdirSync(`/proc/${pid}/fd`).length, threads: readdirSync(`/proc/${pid}/task`).length });
  const looks = [];
  let done = 0;
  let given = 0;
  const total = SOAK;
  const hand = () => {
    while (given < total && given - done < 64) wire.deliver(++given, { n: given, filler: "x".repeat(200) }, { session: `${given % 64}` });
  };
  await new Promise((resolve) => {
    wire.watchers.add(() => {
      for (const frame of wire.frames.splice(0)) {
        if (frame.method !== "broker.commit") continue;
        wire.answer(frame);
        if (++done % (total / 4) === 0) looks.push(look());
      }
      hand();
      if (done === total) resolve(undefined);
    });
    hand();
  });
  t.diagnostic(JSON.stringify(looks));
  assert.ok(looks.at(-1).rss <= looks[0].rss + GROWTH_MB, JSON.stringify(looks));
  assert.deepEqual([looks.at(-1).fds, looks.at(-1).threads], [looks[0].fds, looks[0].threads]);
});
