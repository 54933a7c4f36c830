// One core per thread: each worker has its own, and takes it along when it ends.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

const CODE = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { Plugin, Reply } = require("trunkline");
  const { TestBroker } = require("trunkline/testing");
  (async () => {
    const plugin = new Plugin("w");
    plugin.outbound("w", (payload) => new Reply(payload));
    const broker = await TestBroker.start(plugin);
    await broker.send("w", "hi", { to: "x" });
    const { payload } = await broker.expectPublished("plugin.inbound.w.*");
    parentPort.postMessage(payload.text);
    if (workerData === "stop") await broker.stop();
    if (workerData === "exit") process.exit(3);
  })();
`;

test("workers have cores of their own, however they end", async () => {
  for (let round = 0; round < 3; round++) {
    await Promise.all(
      ["stop", "exit", "terminate", "stop", "terminate"].map(async (how) => {
        const worker = new Worker(CODE, { eval: true, workerData: how });
        const exited = once(worker, "exit");
        const [text] = await once(worker, "message");
        assert.equal(text, "hi");
        if (how === "terminate") await worker.terminate();
        const [code] = await exited;
        assert.equal(code, { stop: 0, exit: 3, terminate: 1 }[how]);
      }),
    );
  }
});

test("a client of a worker is its own, and a refusal is an error there", async () => {
  const worker = new Worker(
    `const { Client } = require("trunkline");
     new Client("w", { socket: "/nowhere/trunkline.sock" }).connect()
       .catch((error) => require("node:worker_threads").parentPort.postMessage(error.code));`,
    { eval: true },
  );
  // The exit may come in the same turn as the message.
  const exited = once(worker, "exit");
  const [code] = await once(worker, "message");
  assert.equal(code, "unavailable");
  assert.deepEqual(await exited, [0]);
});
