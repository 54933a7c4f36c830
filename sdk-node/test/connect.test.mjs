// Connections of a plugin against a real server of lines; the example of the page against the same.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { Batch, Event, Plugin, Retry } from "trunkline";
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

// Proves: the code of docs/patterns/connection.md runs as it stands there, its test included.
test("the example of the page runs", { skip: !existsSync(PAGE) && "the page is not here" }, async (t) => {
  const directory = mkdtempSync(join(here, "..", "r-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "page.test.mjs");
  writeFileSync(file, blocks(PAGE, "js")[0]);
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const ran = spawnSync(process.execPath, ["--test", file], { encoding: "utf8", env });
  assert.equal(ran.status, 0, ran.stdout);
});

// Proves P5c, Node part: the next request names the last event.
test("an event stream is played with its ids", async (t) => {
  const plugin = new Plugin("feed");
  plugin.connect("feed", { url: "https://api.example.com/events" }, (f) =>
    Event.inbound({ text: f.data.text, event: f.event }));
  const broker = await TestBroker.start(t, plugin);
  const stream = broker.socket("https://api.example.com");
  const conn = await stream.accept();
  assert.equal(conn.url, "https://api.example.com/events");
  assert.equal(conn.headers["last-event-id"], undefined);
  conn.send({ event: "add", id: "41", data: { text: "a" }, retry: 250 });
  await broker.expectPublished("plugin.inbound.feed.*", { text: "a", event: "add" });
  conn.close();
  const again = await stream.accept();
  assert.equal(again.headers["last-event-id"], "41");
  assert.throws(() => conn.send({ text: "b" }), /the connection is not there any more/);
});

test("what the plugin does is seen from the other side", async (t) => {
  const plugin = new Plugin("irc");
  plugin.connect("irc", { url: "tls://irc.example.com:6697", greeting: ["NICK bot"] }, async (text, ctx) => {
    if (text === "RECONNECT") return new Retry("0s", "the server asked");
    await ctx.conn.send(`PONG${text.slice(4)}`);
  });
  const broker = await TestBroker.start(t, plugin);
  const server = broker.socket("tls://irc.example.com:6697");
  const conn = await server.accept();
  conn.send("PING 1");
  conn.send("PING 2");
  assert.equal(await conn.expect((line) => line.endsWith("2")), "PONG 2");
  assert.equal(await conn.expect(() => true), "NICK bot");
  await assert.rejects(conn.expect("PONG 3", { within: "1s" }), /expected "PONG 3" from the plugin within 1s/);
  conn.send("RECONNECT");
  await server.accept();
  assert.equal((await conn.expectClosed()).code, null);
});

test("a connection that nobody plays fails the test", async (t) => {
  const plugin = new Plugin("chat");
  plugin.connect("chat", { url: "wss://gateway.example.com" }, () => {});
  const broker = await TestBroker.start(t, plugin);
  const missed = broker.socket("wss://other.example.com").accept();
  await assert.rejects(missed, /hint: broker.socket\("wss:\/\/gateway.example.com"\)/);
});
