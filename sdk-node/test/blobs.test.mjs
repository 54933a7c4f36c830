// Blobs: content crosses by reference, from bytes, paths and streams.
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { HttpError, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

const CONTENT = Buffer.alloc(1 << 20, "0123456789");

test("what is put is read by whom the event reaches", async (t) => {
  const plugin = new Plugin("album");
  plugin.on("agent.photos", async (photo, ctx) => {
    const content = await ctx.blob.get(photo.id);
    let bytes = 0;
    for await (const chunk of await ctx.blob.open(photo.id)) bytes += chunk.length;
    await ctx.publish("agent.seen", { same: content.equals(CONTENT), bytes });
  });
  const broker = await TestBroker.start(t, plugin);
  const blob = await broker.blob.put(CONTENT, { mediaType: "image/png" });
  assert.equal(blob.bytes, CONTENT.length);
  assert.equal(blob.media_type, "image/png");
  assert.deepEqual(await broker.blob.stat(blob), blob);
  const directory = await mkdtemp(join(tmpdir(), "blobs-"));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, "content");
  await writeFile(path, CONTENT);
  assert.equal((await broker.blob.put(pathToFileURL(path))).id, blob.id);
  await assert.rejects(broker.blob.put(path), { name: "TypeError", message: /pathToFileURL/ });
  assert.equal((await broker.blob.put(Readable.from([CONTENT]))).id, blob.id);
  await broker.publish("agent.photos", { id: blob.id }, { blobs: [blob] });
  assert.deepEqual((await broker.expectPublished("agent.photos")).blobs, [blob.id]);
  await broker.expectPublished("agent.seen", { same: true, bytes: CONTENT.length });
});

test("what is not there is not found", async (t) => {
  const broker = await TestBroker.start(t, new Plugin("album"));
  await assert.rejects(broker.blob.get(`sha256:${"0".repeat(64)}`), { code: "not_found" });
});

test("a copy made for reading goes also when it cannot be opened", async (t) => {
  const require = createRequire(import.meta.url);
  const { Blobs } = require(join(dirname(require.resolve("trunkline/package.json")), "lib/blob.js"));
  const directory = await mkdtemp(join(tmpdir(), "blobs-"));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, "copy");
  for (const name of ["get", "open"]) {
    await symlink(join(directory, "nowhere"), path);
    const blobs = new Blobs({ call: async () => ({ path, temporary: true }) }, 0);
    await assert.rejects(blobs[name]("sha256:0"), { code: "ENOENT" });
    assert.deepEqual(await readdir(directory), []);
  }
});

// Proves: an answer becomes a blob, and a blob a body or a field of a form, piece by piece.
test("files come and go over HTTP", async (t) => {
  const plugin = new Plugin("relay");
  plugin.on("agent.relay", { timeout: "1m" }, async (_, ctx) => {
    const api = ctx.http.at("https://files.example", { bearer: "{config.token}" });
    const blob = await api.download("/cat", { query: { n: 1 } });
    const answer = await api.upload("/raw", blob, { method: "PUT", headers: { "x-a": "b" } });
    await api.upload("/form", { photo: ["cat.png", blob], id: blob.id }, { form: { chat: 7 } });
    await ctx.publish("agent.seen", { id: blob.id, said: answer.text() }, { blobs: [blob] });
  });
  const broker = await TestBroker.start(t, plugin, { config: { token: "tok-secret" } });
  const files = broker.http("https://files.example");
  const got = files.on("GET", "/cat").reply(503, { headers: { "retry-after": "2" } });
  got.reply(200, { body: CONTENT, headers: { "content-type": "image/png" } });
  const raw = files.on("PUT", "/raw").reply(201, { body: "thanks" });
  const form = files.on("POST", "/form").reply(200);
  await broker.publish("agent.relay", {});
  const event = await broker.expectPublished("agent.seen", { said: "thanks" }, { within: "5s" });
  const blob = await broker.blob.stat(event.blobs[0]);
  assert.deepEqual({ ...blob }, { id: event.payload.id, bytes: CONTENT.length, media_type: "image/png" });
  assert.deepEqual(got.requests.map((request) => request.query), [{ n: "1" }, { n: "1" }]);
  const [put] = raw.requests;
  assert.ok(Buffer.from(put.body).equals(CONTENT));
  assert.equal(put.headers["content-type"], "image/png");
  assert.equal(put.headers.authorization, "Bearer tok-secret");
  assert.equal(put.headers["x-a"], "b");
  const [posted] = form.requests;
  const [kind, boundary] = posted.headers["content-type"].split("; boundary=");
  assert.equal(kind, "multipart/form-data");
  const parts = Buffer.from(posted.body).toString().split(`--${boundary}`);
  assert.equal(parts.length, 5);
  assert.ok(parts[1].endsWith("\r\n\r\n7\r\n"));
  assert.ok(parts[2].includes('name="photo"; filename="cat.png"\r\ncontent-type: image/png\r\n'));
  assert.ok(parts[3].includes('name="id"; filename="id"'));
  for (const part of parts.slice(2, 4)) assert.ok(part.endsWith(`\r\n\r\n${CONTENT}\r\n`));
});

test("a download has a limit, and options that are none are refused", async (t) => {
  const plugin = new Plugin("relay");
  plugin.on("agent.relay", { timeout: "1m" }, async (_, ctx) => {
    const error = await ctx.http.download("https://files.example/cat", { maxBytes: 100 }).catch((thrown) => thrown);
    assert.ok(error instanceof HttpError && error.status === 200 && !error.retryable);
    assert.match(error.message, /more than 100 bytes; hint: raise max_bytes/);
    await assert.rejects(ctx.http.download("https://files.example/cat", { max: 1 }), { code: "invalid_arguments" });
    const blob = await ctx.http.download("https://files.example/cat", { mediaType: "image/x" });
    await ctx.http.upload("https://files.example/raw", blob.id);
    await ctx.publish("agent.seen", { bytes: blob.bytes, kind: blob.media_type });
  });
  const broker = await TestBroker.start(t, plugin);
  const files = broker.http("https://files.example");
  files.on("GET", "/cat").reply(200, { body: CONTENT });
  const raw = files.on("POST", "/raw").reply(200);
  await broker.publish("agent.relay", {});
  await broker.expectPublished("agent.seen", { bytes: CONTENT.length, kind: "image/x" }, { within: "5s" });
  assert.equal(raw.requests[0].headers["content-type"], "image/x");
});
