// Blobs: content crosses by reference, from bytes, paths and streams.
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { Plugin } from "trunkline";
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
