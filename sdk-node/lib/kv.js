"use strict";
// Keyed state: an instance's own, the plugin's, everybody's, a conversation's.

class Kv {
  /** @param {any} core @param {number} target @param {string} scope */
  constructor(core, target, scope) {
    Object.defineProperties(this, { core: { value: core }, target: { value: target } });
    this.scope = scope;
  }

  get plugin() {
    return new Kv(/** @type {any} */ (this).core, /** @type {any} */ (this).target, "plugin");
  }

  get workspace() {
    return new Kv(/** @type {any} */ (this).core, /** @type {any} */ (this).target, "workspace");
  }

  /** @param {string} name @param {Record<string, any>} args */
  ask(name, args) {
    const core = /** @type {any} */ (this).core;
    return core.call(/** @type {any} */ (this).target, `kv.${name}`, { scope: this.scope, ...args });
  }

  /** @param {string} key @param {any} [fallback] */
  async get(key, fallback) {
    const found = await this.ask("get", { key });
    return found === null ? fallback : found.value;
  }

  /** @param {string} key */
  async entry(key) {
    const found = await this.ask("get", { key });
    return found === null ? undefined : { key, value: found.value, revision: found.revision };
  }

  /** @param {string} key */
  require(key) {
    return this.ask("require", { key });
  }

  /** @param {Iterable<string>} keys */
  async getMany(keys) {
    const found = await this.ask("get_many", { keys: [...keys] });
    return new Map(found.map((/** @type {any} */ { key, value }) => [key, value]));
  }

  /** @param {string} key @param {Uint8Array} bytes @param {{ ttl?: string, ifRevision?: number }} [options] */
  putBytes(key, bytes, options) {
    return this.put(key, Buffer.from(bytes).toString("base64"), options);
  }

  /** @param {string} key */
  async getBytes(key) {
    const found = await this.ask("get_bytes", { key });
    return found === null ? undefined : Buffer.from(found, "base64");
  }

  /** @param {string} key @param {any} value @param {{ ttl?: string, ifRevision?: number }} [options] */
  put(key, value, options = {}) {
    const { ttl, ifRevision } = options;
    return this.ask("put", { key, value: value === undefined ? null : value, ttl, if_revision: ifRevision });
  }

  /** @param {string} key @param {{ ifRevision?: number }} [options] */
  async delete(key, options = {}) {
    await this.ask("delete", { key, if_revision: options.ifRevision });
  }

  /** @param {string} [prefix] */
  list(prefix = "") {
    return this.ask("list", { prefix });
  }

  /** @param {string} key @param {(value: any) => any} change @param {{ ttl?: string }} [options] */
  async update(key, change, options = {}) {
    const core = /** @type {any} */ (this).core;
    const number = core.lend((/** @type {any} */ value) => change(value === null ? undefined : value));
    try {
      return await this.ask("update", { key, ttl: options.ttl, function: number });
    } finally {
      core.functions.delete(number);
    }
  }

  /** @param {string} [prefix] @param {{ fromRevision?: number }} [options] */
  async *watch(prefix = "", options = {}) {
    const core = /** @type {any} */ (this).core;
    const { watch } = await this.ask("watch", { prefix, from_revision: options.fromRevision });
    try {
      for (;;) {
        const change = await core.call(watch, "next", {});
        if (change === null) return;
        yield change;
      }
    } finally {
      core.forget(watch);
    }
  }
}

module.exports = { Kv };
