// The link itself: what is printed never gets between frames, and the process ends with its link.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Wire } from "./support/wire.mjs";

const NOISE = `
import { execFileSync, spawnSync } from "node:child_process";
import { writeSync } from "node:fs";
import { Plugin, Reply, run } from "trunkline";
const plugin = new Plugin("wire");
plugin.outbound("wire", async (payload) => {
  const mega = "x".repeat(1 << 20);
  if (payload.text === "console") { console.log('{"jsonrpc":"2.0","id":1,"result":{}}'); console.error("e"); }
  if (payload.text === "stdout") { process.stdout.write("no newline"); process.stderr.write("no newline"); }
  if (payload.text === "mega") { process.stdout.write(mega); process.stderr.write(mega); }
  if (payload.text === "fd") { try { writeSync(1, "straight to fd 1"); } catch (error) { if (error.code !== "EAGAIN") throw error; } }
  if (payload.text === "child") spawnSync("sh", ["-c", "head -c 1048576 /dev/zero | tr '\\\\0' y; echo frame >&2"], { stdio: "inherit" });
  return new Reply(payload);
});
await run(plugin);
`;

// Proves W8 and LN7, Node part: console, process.stdout, a descriptor and a child process cannot enter the frames.
for (const link of ["fd", "stdio"]) {
  test(`nothing that is printed gets into the ${link} link`, async (t) => {
    const wire = await Wire.start(t, NOISE, { link });
    const kinds = ["console", "stdout", "mega", "fd", "child"];
    for (let round = 0; round < 4; round++) {
      for (const [i, text] of kinds.entries()) {
        const n = round * kinds.length + i + 1;
        wire.deliver(n, { text });
        const commit = await wire.frame((frame) => frame.method === "broker.commit" && frame.params.ack?.includes(`d${n}`));
        assert.equal(commit.params.events[0].event.payload.text, text);
        wire.answer(commit);
      }
    }
    assert.equal(wire.bad, undefined, `a line that is no frame: ${wire.bad}`);
    const output = link === "fd" ? wire.stdout : wire.stderr;
    assert.ok(output.length > 2 << 20, "it all came out at the other side");
    wire.end();
    assert.deepEqual(await wire.exited, { code: 0, signal: null });
  });
}

test("what is printed before the link is taken over is a line of its own", async (t) => {
  const wire = await Wire.start(t, NOISE.replace("await run", "console.log('early bird'); await run"), { link: "stdio" });
  wire.deliver(1, { text: "x" });
  await wire.frame((frame) => frame.method === "broker.commit");
  assert.equal(wire.bad, "early bird");
});

// Proves W7, Node part: what is no frame is answered as such, and the plugin goes on.
test("bad frames do not end a plugin", async (t) => {
  const wire = await Wire.start(t, NOISE);
  for (const bad of ["{nope", "5", "[1]", '{"jsonrpc":"2.0"', "null"]) wire.output.write(`${bad}\n`);
  wire.output.write(Buffer.from([0xff, 0xfe, 0x0a, 0x0a, 0x0d, 0x0a]));
  wire.deliver(1, { text: "x" });
  const refusal = await wire.frame((frame) => frame.error && frame.id === null);
  assert.ok([-32700, -32600].includes(refusal.error.code));
  wire.answer(await wire.frame((frame) => frame.method === "broker.commit"));
  wire.end();
  assert.deepEqual(await wire.exited, { code: 0, signal: null });
});

// Proves LN14, Node part: what the start began goes on, in the loop that serves.
test("what on_start began lives until the stop, and what is left open does not keep the process", async (t) => {
  const wire = await Wire.start(t, `
    import { Plugin, Event, run } from "trunkline";
    const plugin = new Plugin("wire");
    plugin.onStart((ctx) => {
      let n = 0;
      setInterval(() => void (n < 3 && ctx.publish("plugin.inbound.wire.default", { tick: ++n }).catch(() => {})), 10);
      ctx.signal.addEventListener("abort", () => console.log("told to end"));
    });
    plugin.outbound("wire", () => {});
    await run(plugin);
  `);
  for (let n = 1; n <= 3; n++) {
    const frame = await wire.frame((frame) => frame.method === "broker.publish");
    assert.equal(frame.params.event.payload.tick, n);
    wire.send({ id: frame.id, result: { seq: n, duplicate: false, matched: 0 } });
  }
  wire.end();
  assert.deepEqual(await wire.exited, { code: 0, signal: null });
  assert.match(wire.stderr, /ended with what it left open: .*Timeout/);
});

for (const how of ["the end of the link", "SIGTERM", "SIGINT", "shutdown"]) {
  test(`on_stop runs once at ${how}, after what is in flight`, async (t) => {
    const wire = await Wire.start(t, `
      import { writeSync } from "node:fs";
      import { Plugin, run } from "trunkline";
      const plugin = new Plugin("wire");
      const say = (what) => writeSync(2, what + ";");
      plugin.onStart(() => say("start"));
      plugin.onStop(async (ctx) => { await null; say("stop"); });
      plugin.outbound("wire", async () => { say("begin"); await new Promise((resolve) => setTimeout(resolve, 200)); say("end"); });
      await run(plugin);
      say("after");
    `);
    wire.deliver(1, {});
    while (!wire.stderr.includes("begin")) await new Promise((resolve) => wire.child.stderr.once("data", resolve));
    if (how === "shutdown") wire.send({ id: 99, method: "shutdown", params: { timeout_ms: 2000, reason: "test" } });
    else if (how.startsWith("SIG")) wire.child.kill(how);
    else wire.end();
    if (how !== "the end of the link") wire.answer(await wire.frame((frame) => frame.method === "broker.commit"));
    assert.deepEqual(await wire.exited, { code: 0, signal: null });
    const said = wire.stderr.match(/(start|begin|end|stop|after);/g).filter((word) => word !== "end;");
    assert.deepEqual(said, ["start;", "begin;", "stop;", "after;"]);
    if (how !== "the end of the link") assert.match(wire.stderr, /begin;end;stop/);
  });
}

test("a handler that throws at once, a rejected one and a thrown undefined end nothing", async (t) => {
  const wire = await Wire.start(t, `
    import { Plugin, run } from "trunkline";
    const plugin = new Plugin("wire");
    plugin.outbound("wire", (payload) => {
      if (payload.how === "sync") throw new Error("sync");
      if (payload.how === "async") return Promise.reject(new Error("async"));
      if (payload.how === "undefined") throw undefined;
      if (payload.how === "thenable") return { then(resolve) { resolve("P"); } };
      return "P";
    });
    await run(plugin);
  `);
  for (const [i, how] of ["sync", "async", "undefined"].entries()) {
    wire.deliver(i + 1, { how });
    const nak = await wire.frame((frame) => JSON.stringify(frame).includes(`"d${i + 1}"`) && frame.method !== "broker.commit" || frame.params?.nak?.length);
    assert.ok(nak);
    if (nak.id) wire.answer(nak);
  }
  for (const n of [7, 8]) {
    wire.deliver(n, { how: n === 7 ? "thenable" : "" });
    wire.answer(await wire.frame((frame) => frame.method === "broker.commit" && frame.params.ack?.includes(`d${n}`)));
  }
  wire.end();
  assert.deepEqual(await wire.exited, { code: 0, signal: null });
});
