"use strict";
// Blobs: large content by reference. Only paths cross to the core, never bytes.

const { createWriteStream } = require("node:fs");
const { mkdtemp, open, readFile, rm, writeFile } = require("node:fs/promises");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { Readable } = require("node:stream");
const { pipeline } = require("node:stream/promises");
const { fileURLToPath } = require("node:url");

class BlobRef {
  /** @param {Record<string, any>} found */
  constructor(found) {
    this.id = found.id;
    this.bytes = found.bytes;
    this.media_type = found.media_type ?? undefined;
  }
}

/** @param {any} blob @returns {string} */
const idOf = (blob) => (typeof blob === "string" ? blob : blob.id);

/** @param {Iterable<any> | undefined} blobs */
function blobIds(blobs) {
  const ids = [...(blobs ?? [])].map(idOf);
  return ids.length > 0 ? ids : undefined;
}

/**
 * Runs `use` with the path of content; what is no file already becomes one for as long.
 * @param {any} content
 * @param {(path: string) => Promise<any>} use
 */
async function withPath(content, use) {
  if (typeof content === "string") {
    throw new TypeError("expected bytes, a file URL or a stream, found a string; use pathToFileURL(path) for a file");
  }
  if (content instanceof URL) return use(fileURLToPath(content));
  const directory = await mkdtemp(join(tmpdir(), "trunkline-put-"));
  try {
    const path = join(directory, "content");
    if (content instanceof Readable || typeof content?.[Symbol.asyncIterator] === "function") {
      await pipeline(content, createWriteStream(path, { mode: 0o600 }));
    } else {
      await writeFile(path, content, { mode: 0o600 });
    }
    return await use(path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

class Blobs {
  /** @param {any} core @param {number} target */
  constructor(core, target) {
    Object.defineProperties(this, { core: { value: core }, target: { value: target } });
  }

  /** @param {string} name @param {Record<string, any>} args */
  ask(name, args) {
    const { core, target } = /** @type {any} */ (this);
    return core.call(target, `blob.${name}`, args);
  }

  /** @param {any} content @param {{ mediaType?: string }} [options] */
  put(content, { mediaType } = {}) {
    return withPath(content, async (path) => new BlobRef(await this.ask("put", { path, media_type: mediaType })));
  }

  /** @param {any} blob */
  async get(blob) {
    const found = await this.ask("open", { id: idOf(blob) });
    try {
      return await readFile(found.path);
    } finally {
      if (found.temporary) await rm(found.path, { force: true });
    }
  }

  /** @param {any} blob */
  async open(blob) {
    const found = await this.ask("open", { id: idOf(blob) });
    try {
      return (await open(found.path, "r")).createReadStream();
    } finally {
      // What is open stays readable.
      if (found.temporary) await rm(found.path, { force: true });
    }
  }

  /** @param {any} blob */
  async stat(blob) {
    return new BlobRef(await this.ask("stat", { id: idOf(blob) }));
  }
}

module.exports = { BlobRef, Blobs, blobIds, idOf };
