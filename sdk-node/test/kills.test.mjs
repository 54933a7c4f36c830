// Killed in the middle of a batch: nothing is lost, nothing is twice, the order is kept.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Client } from "trunkline";
import { Daemon } from "./support/daemon.mjs";

const EVENTS = process.env.TRUNKLINE_SOAK ? 10_000 : 2_000;
const SESSIONS = 20;

test(`${EVENTS} queued events, the plugin and the daemon killed in the middle of them`, { timeout: 180_000 }, async (t) => {
  const daemon = await Daemon.start(t, {
    echo: `
      import { Plugin, Reply, run } from "trunkline";
      const plugin = new Plugin("echo");
      plugin.outbound("echo", async (payload) => {
        await new Promise((resolve) => setTimeout(resolve, 10));
        return new Reply(payload);
      });
      await run(plugin);
    `,
  });
  const publisher = await daemon.client(t, "publisher");
  const sent = [];
  for (let n = 0; n < EVENTS; n++) sent.push(publisher.publish("plugin.outbound.echo", { n }, { session: `${n % SESSIONS}` }));
  await Promise.all(sent);
  await publisher.close();
  for (let kill = 0; kill < 3; kill++) {
    const pid = daemon.pid("echo");
    if (pid > 0) process.kill(pid, "SIGKILL");
    await sleep(150);
  }
  const left = Number(/^instance\.echo\.default +\S+ +\d+ +(\d+)/m.exec(daemon.cli("status"))[1]);
  assert.ok(left > 0, "it was in the middle of them");
  t.diagnostic(`${left} were left when the daemon was killed`);
  await daemon.stop("SIGKILL");
  await daemon.up(["echo"]);
  const reader = new Client("reader", { socket: daemon.socket });
  await reader.connect();
  t.after(() => reader.close());
  const seen = new Map(Array.from({ length: SESSIONS }, (_, s) => [`${s}`, []]));
  let count = 0;
  for await (const delivery of reader.subscribe("plugin.inbound.echo.>", { name: "r", start: "earliest", credit: 256 })) {
    seen.get(delivery.event.session_id).push(delivery.payload.n);
    delivery.ack();
    if (++count === EVENTS) break;
  }
  for (const [session, numbers] of seen) {
    const expected = Array.from({ length: EVENTS / SESSIONS }, (_, i) => Number(session) + i * SESSIONS);
    assert.deepEqual(numbers, expected, `session ${session}`);
  }
});
