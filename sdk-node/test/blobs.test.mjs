// Blobs: content crosses by reference, from bytes, paths and streams.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
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
  assert.equal((await broker.blob.put(path)).id, blob.id);
  assert.equal((await broker.blob.put(Readable.from([CONTENT]))).id, blob.id);
  await broker.publish("agent.photos", { id: blob.id }, { blobs: [blob] });
  assert.deepEqual((await broker.expectPublished("agent.photos")).blobs, [blob.id]);
  await broker.expectPublished("agent.seen", { same: true, bytes: CONTENT.length });
});

test("what is not there is not found", async (t) => {
  const broker = await TestBroker.start(t, new Plugin("album"));
  await assert.rejects(broker.blob.get(`sha256:${"0".repeat(64)}`), { code: "not_found" });
});
