// Connections of a plugin against a real server of lines; the example of the page against the same.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { Batch, Event, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";
import { blocks } from "./readme/extract.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const PAGE = join(process.env.TRUNKLINE_ROOT ?? join(here, "..", ".."), "docs", "patterns", "connection.md");

/** A server of lines of JSON; `accept` waits for the next connection. */
async function serve(t) {
  const waiting = [];
  const server = createServer((socket) => waiting.shift()(socket)).listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const sockets = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const accept = () =>
    new Promise((done) => {
      waiting.push((socket) => {
        sockets.push(socket);
        socket.on("error", () => {});
        const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
        done({
          tell: (frame) => socket.write(`${JSON.stringify(frame)}\n`),
          hear: async () => JSON.parse((await lines.next()).value),
          close: () => socket.destroy(),
        });
      });
    });
  return { url: `tcp://127.0.0.1:${server.address().port}`, accept };
}

// Proves P5b, Node part: the cursor is committed with the events, and is what is resumed from.
test("events and cursor are durable before the ack", async (t) => {
  const server = await serve(t);
  const plugin = new Plugin("chat");
  const options = { url: async () => server.url, frames: "json", backoff: { initial: "5ms", cap: "20ms" } };
  plugin.connect("chat", options, async (f, ctx) => {
    if (f.op === "hello") return ctx.conn.send({ op: "login", resume: ctx.conn.cursor });
    return new Batch([Event.inbound({ text: f.text })], { cursor: f.seq, ack: { acked: f.seq } });
  });
  const first = server.accept();
  const broker = await TestBroker.start(t, plugin);
  const peer = await first;
  peer.tell({ op: "hello" });
  assert.deepEqual(await peer.hear(), { op: "login", resume: null });
  peer.tell({ op: "message", seq: 7, text: "a" });
  assert.deepEqual(await peer.hear(), { acked: 7 });
  await broker.expectPublished("plugin.inbound.chat.*", { text: "a" }, { within: "5s" });
  const second = server.accept();
  peer.close();
  const again = await second;
  again.tell({ op: "hello" });
  assert.deepEqual(await again.hear(), { op: "login", resume: 7 });
});

test("the example of the page runs", { skip: !existsSync(PAGE) && "the page is not here" }, async (t) => {
  const directory = mkdtempSync(join(here, "..", "r-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "page.mjs");
  writeFileSync(file, blocks(PAGE, "js")[0]);
  const { plugin } = await import(pathToFileURL(file));
  plugin.patterns.get("connects")[0].options.frames = "json";
  const server = await serve(t);
  const accepted = server.accept();
  const broker = await TestBroker.start(t, plugin, { config: { url: server.url } });
  const peer = await accepted;
  peer.tell({ op: "hello", every: "30s" });
  assert.deepEqual(await peer.hear(), { op: "login", resume: null });
  peer.tell({ op: "message", seq: 1, text: "a" });
  assert.deepEqual(await peer.hear(), { op: "ack", seq: 1 });
  await broker.expectPublished("plugin.inbound.chat.*", { text: "a" }, { within: "5s" });
  await broker.send("chat", { text: "hi" }, { to: "c1" });
  assert.deepEqual(await peer.hear(), { op: "say", text: "hi" });
});
