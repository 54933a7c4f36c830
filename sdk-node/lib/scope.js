"use strict";
// What an instance can do: every context is one, and so is a connected client.

const { inspect } = require("node:util");
const { toDraft, Event } = require("./event.js");
const { Batch, batchOf } = require("./outcomes.js");
const { Blobs, blobIds } = require("./blob.js");
const { Conn } = require("./connect.js");
const { Http } = require("./http.js");
const { Kv } = require("./kv.js");
const { acquire } = require("./lock.js");
const { Sending } = require("./sending.js");
const { Log } = require("./log.js");
const { Timers } = require("./timer.js");

/**
 * Says what an answer to a publish means.
 * @param {any} answer
 */
function published(answer) {
  return { seq: answer.seq ?? null, duplicate: answer.duplicate === true, matched: answer.matched ?? 0 };
}

const PUBLISHED = { read: published };

class InstanceContext {
  /**
   * @param {any} bound The plugin or client that it belongs to.
   * @param {number} [target] Names the instance to the core; the plugin's own handle otherwise.
   */
  constructor(bound, target = bound.handle) {
    this.bound = bound;
    this.target = target;
  }

  [inspect.custom]() {
    return `${this.constructor.name} { instance: ${JSON.stringify(this.instance)} }`;
  }

  /** @param {string} topic @param {unknown} payload @param {Record<string, any>} [options] */
  publish(topic, payload, options) {
    const event = payload instanceof Event ? { ...toDraft(payload), topic, inbound: undefined } : undefined;
    /** @type {Record<string, any>} */
    const args = event ? { ...event, ...options } : { ...options, topic, payload: payload === undefined ? null : payload };
    if (args.blobs !== undefined) args.blobs = blobIds(args.blobs);
    return this.bound.core.call(this.target, "publish", args, PUBLISHED);
  }

  /** @param {...any} what */
  async emit(...what) {
    const batch = what.length === 1 && what[0] instanceof Batch ? what[0] : new Batch(what.flat());
    const answer = await this.bound.core.call(this.target, "emit", batchOf(batch));
    return { events: answer.events.map(published), revisions: answer.revisions };
  }

  /** @param {string} kind @param {unknown} message @param {Record<string, any>} [options] */
  async send(kind, message, options) {
    const answer = await this.bound.core.call(this.target, "send", { ...options, kind, message });
    return new Sending(this.bound.core, answer.sending, answer.id, published(answer.published));
  }

  /** @param {string} method @param {unknown} [params] @param {{ signal?: AbortSignal }} [options] */
  request(method, params = {}, options) {
    return this.bound.core.call(this.target, "request", { method, params }, options);
  }

  /** @param {string} name @param {any} [options] @param {(lock: any) => any} [use] */
  lock(name, options, use) {
    return typeof options === "function"
      ? acquire(this, name, {}, options)
      : acquire(this, name, options ?? {}, use);
  }

  /** @param {string} name @param {unknown} [args] @param {any} [options] */
  callTool(name, args, options) {
    const { ToolCall } = require("./tool.js");
    return new ToolCall(this.bound.core, this.target, name, args, options);
  }

  /** @param {string} name @param {any} options @param {any} handler */
  async registerTool(name, options, handler) {
    const { toolEntry, toolSpec } = require("./tool.js");
    const tools = [toolSpec(this.bound, toolEntry(name, options, handler))];
    await this.bound.core.call(this.target, "tool.register", { tools });
    return handler;
  }

  /** @param {string} name */
  async unregisterTool(name) {
    await this.bound.core.call(this.target, "tool.unregister", { names: [name] });
  }

  /** Names the instance to the core for as long as it lives. */
  get instanceHandle() {
    return this.target;
  }

  get kv() {
    return new Kv(this.bound.core, this.target, "own");
  }

  get timer() {
    return new Timers(this.bound.core, this.target);
  }

  get blob() {
    return new Blobs(this.bound.core, this.target);
  }

  get conn() {
    return new Conn(this.bound.core, this.target);
  }

  get http() {
    return new Http(this);
  }

  get log() {
    return new Log(this);
  }

  get config() {
    return this.bound.config(this.target, this.instanceHandle);
  }

  get state() {
    return this.bound.core.tell(this.target, "state") ?? undefined;
  }

  get instance() {
    return this.bound.core.tell(this.target, "instance");
  }

  get kind() {
    return this.bound.kind;
  }

  /** @param {{ done?: number, total?: number, message?: string, data?: unknown }} options */
  progress(options) {
    this.bound.core.tell(this.target, "progress", options);
  }

  /** @param {"ready" | "degraded"} state @param {string} [reason] */
  status(state, reason) {
    this.bound.core.tell(this.target, "status", reason === undefined ? { state } : { state, reason });
  }

  /** @param {string} [name] */
  hookUrl(name = "") {
    return this.bound.core.tell(this.target, "hook_url", { name }) ?? undefined;
  }

  listener() {
    return { fd: this.bound.core.tell(this.instanceHandle, "listener").fd };
  }

  get cancelled() {
    return this.signal.aborted;
  }

  get signal() {
    return this.bound.life(this.target).signal;
  }
}

module.exports = { InstanceContext, PUBLISHED };
