"use strict";
// Calls to HTTP servers outside. The client is the core's; here is only how it is asked.

const { BlobRef, idOf } = require("./blob.js");
const { decodeTagged } = require("./json.js");
const { TrunklineError } = require("./errors.js");

class Response {
  /** @param {any} found */
  constructor(found) {
    this.status = found.status;
    this.headers = found.headers;
    this.movedTo = found.moved_to ?? undefined;
    Object.defineProperty(this, "found", { value: found });
  }

  /** @returns {Buffer} */
  bytes() {
    const { body, body_base64: base64 } = /** @type {any} */ (this).found;
    return body === undefined ? Buffer.from(base64, "base64") : Buffer.from(body);
  }

  /** @returns {string} */
  text() {
    const { body } = /** @type {any} */ (this).found;
    return body ?? this.bytes().toString();
  }

  /** @returns {any} */
  json() {
    const { tagged } = /** @type {any} */ (this).found;
    if (tagged !== undefined) return decodeTagged(tagged);
    try {
      return JSON.parse(this.text());
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      throw new TrunklineError("invalid_payload", `the answer (${this.status}) does not fit: ${message}`, { cause: error });
    }
  }
}

/** Options of a call, and their names for the core. */
const CALL = {
  json: "json",
  form: "form",
  query: "query",
  headers: "headers",
  timeout: "timeout",
  idempotencyKey: "idempotency_key",
};
/** Options of a download, and their names for the core. */
const DOWNLOAD = { query: "query", headers: "headers", timeout: "timeout", maxBytes: "max_bytes", mediaType: "media_type" };
/** Options of an upload, and their names for the core. */
const UPLOAD = {
  method: "method",
  form: "form",
  query: "query",
  headers: "headers",
  timeout: "timeout",
  idempotencyKey: "idempotency_key",
};
/** Options of a server, and their names for the core. */
const AT = { bearer: "bearer", basic: "basic", headers: "headers", guard: "guard" };

/** @param {Record<string, any>} options @param {Record<string, string>} names @param {string} what */
function named(options, names, what) {
  /** @type {Record<string, any>} */
  const args = {};
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (names[name] === undefined) {
      throw new TrunklineError("invalid_arguments", `expected one of ${Object.keys(names).join(", ")} for ${what}, found ${name}`);
    }
    args[names[name]] = value;
  }
  return args;
}

/** Tells a blob from the fields of a form, one of which may be called `id`. @param {any} blob @returns {boolean} */
const isBlob = (blob) => typeof blob === "string" || (typeof blob?.id === "string" && typeof blob.bytes === "number");

/** @param {string} field @param {any} blob */
function fieldOf(field, blob) {
  if (!Array.isArray(blob)) return { field, id: idOf(blob) };
  return { field, file_name: blob[0], id: idOf(blob[1]) };
}

/** What makes calls: to one server, or to whole URLs. */
class HttpAt {
  /** @param {any} ctx @param {Record<string, any>} at */
  constructor(ctx, at) {
    Object.defineProperties(this, { ctx: { value: ctx }, declared: { value: at } });
  }

  /** @param {string} method @param {string} [path] @param {Record<string, any>} [options] */
  async request(method, path = "", { body, signal, ...options } = {}) {
    const { ctx, declared: at } = /** @type {any} */ (this);
    const args = /** @type {Record<string, any>} */ ({ at, method, path, ...named(options, CALL, "a call") });
    if (typeof body === "string") args.body = body;
    else if (body !== undefined) args.body_base64 = Buffer.from(body).toString("base64");
    return new Response(await ctx.bound.core.call(ctx.target, "http", args, { signal }));
  }

  /** @param {string} [path] @param {Record<string, any>} [options] */
  async download(path = "", { signal, ...options } = {}) {
    const { ctx, declared: at } = /** @type {any} */ (this);
    const args = { at, path, ...named(options, DOWNLOAD, "a download") };
    return new BlobRef(await ctx.bound.core.call(ctx.target, "http.download", args, { signal }));
  }

  /** @param {string} path @param {any} blob @param {Record<string, any>} [options] */
  async upload(path, blob, { signal, ...options } = {}) {
    const { ctx, declared: at } = /** @type {any} */ (this);
    const blobs = isBlob(blob) ? { blob: idOf(blob) } : { blobs: Object.entries(blob).map(([field, one]) => fieldOf(field, one)) };
    const args = { at, path, ...named(options, UPLOAD, "an upload"), ...blobs };
    return new Response(await ctx.bound.core.call(ctx.target, "http.upload", args, { signal }));
  }

  /** @param {string} [path] @param {Record<string, any>} [options] */
  get(path, options) {
    return this.request("GET", path, options);
  }

  /** @param {string} [path] @param {Record<string, any>} [options] */
  post(path, options) {
    return this.request("POST", path, options);
  }

  /** @param {string} [path] @param {Record<string, any>} [options] */
  put(path, options) {
    return this.request("PUT", path, options);
  }

  /** @param {string} [path] @param {Record<string, any>} [options] */
  patch(path, options) {
    return this.request("PATCH", path, options);
  }

  /** @param {string} [path] @param {Record<string, any>} [options] */
  delete(path, options) {
    return this.request("DELETE", path, options);
  }
}

class Http extends HttpAt {
  /** @param {any} ctx */
  constructor(ctx) {
    super(ctx, {});
  }

  /** @param {string} base @param {Record<string, any>} [options] */
  at(base, options = {}) {
    return new HttpAt(/** @type {any} */ (this).ctx, { ...named(options, AT, "a server"), base });
  }
}

module.exports = { Http, HttpAt, Response };
