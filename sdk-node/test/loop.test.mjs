// The event loop stays the plugin's while the core works for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Event, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

const CONTENT = Buffer.alloc(4 << 20, "0123456789");

/** Counts the turns of the loop until it is stopped. */
function turns(t) {
  const counted = { turns: 0, goesOn: true };
  const turn = () => {
    counted.turns += 1;
    if (counted.goesOn) setImmediate(turn);
  };
  setImmediate(turn);
  t.after(() => (counted.goesOn = false));
  return counted;
}

// Proves X5: while calls of the core are under way, timers and other handlers run. An answer that is there at once needs no
// turn, so that of small calls it is all together that are looked at.
test("the loop turns during calls: commits, keys and blobs", async (t) => {
  const counted = turns(t);
  const during = {};
  const plugin = new Plugin("busy");
  plugin.on("agent.go", { name: "go", timeout: "5m" }, async (_payload, ctx) => {
    const calls = {
      commit: (n) => ctx.emit(Event.new("agent.seen", "busy", { n, text: "x".repeat(10_000) })),
      "kv.put": (n) => ctx.kv.put(`k${n}`, { n }),
      "kv.update": (n) => ctx.kv.update("count", (found = 0) => found + n),
      "blob.put": (n) => ctx.blob.put(Buffer.concat([CONTENT, Buffer.from(`${n}`)])),
    };
    for (let n = 0; n < 20; n++) {
      for (const [name, call] of Object.entries(calls)) {
        const before = counted.turns;
        await call(n);
        (during[name] ??= []).push(counted.turns - before);
      }
    }
    return Event.new("agent.done", "busy", {});
  });
  const broker = await TestBroker.start(t, plugin);
  await broker.publish("agent.go", {});
  await broker.expectPublished("agent.done", undefined, { within: "5m" });
  for (const [name, turns] of Object.entries(during)) assert.ok(turns.some((n) => n > 0), `${name}: ${turns}`);
  // A loop that is held up by the machine may find an answer at once, now and then.
  assert.ok(during["blob.put"].filter((n) => n > 0).length > 10, `${during["blob.put"]}`);
});

// Proves X5: a call that waits in the core takes nothing from the loop, however long it waits.
test("the loop turns as long as a call waits for a lock", async (t) => {
  const counted = turns(t);
  let asked = 0;
  let taken = false;
  let give;
  const plugin = new Plugin("locks");
  plugin.outbound("locks", { timeout: "5m" }, async (_message, ctx) => {
    if (ctx.instance === "other") asked = counted.turns;
    const lock = await ctx.lock("one", { ttl: "5m", wait: "1m" });
    if (ctx.instance === "other") taken = true;
    else await new Promise((resolve) => (give = resolve));
    await lock.release();
    return "done";
  });
  const broker = await TestBroker.start(t, plugin, { instances: ["first", "other"] });
  const turn = () => new Promise(setImmediate);
  await broker.send("locks", "take it", { to: "a", instance: "first" });
  while (give === undefined) await turn();
  const waits = await broker.send("locks", "wait", { to: "b", instance: "other" });
  while (asked === 0 || counted.turns < asked + 10_000) await turn();
  assert.equal(taken, false);
  give();
  assert.equal((await waits.until("sent", { timeout: "1m" })).state, "sent");
});
