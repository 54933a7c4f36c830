"use strict";
// An agent, an app, a script: the other side of the plugins.

const { Bound } = require("./bound.js");
const { InstanceContext } = require("./scope.js");
const { Subscription } = require("./subscription.js");
const { TrunklineError } = require("./errors.js");
const { core } = require("./core.js");
const { registration, onSpec } = require("./plugin.js");

class Client {
  /** @param {string} name @param {{ socket?: string, url?: string, token?: string, tokenFile?: string }} [options] */
  constructor(name, options = {}) {
    this.name = name;
    this.options = options;
    /** @type {any[]} */
    this.onHandlers = [];
    /** @type {[any, any][]} */
    this.translators = [];
    /** @type {Bound | undefined} */
    this.bound = undefined;
    /** @type {InstanceContext | undefined} */
    this.scope = undefined;
    this.isHeld = false;
  }

  /** @param {string | string[]} filter @param {any} options @param {any} [handler] */
  on(filter, options, handler) {
    const entry = registration(filter, options, handler);
    this.onHandlers.push(entry);
    return entry.handler;
  }

  /** @param {any} type @param {any} translate */
  onError(type, translate) {
    this.translators.push([type, translate]);
    return translate;
  }

  /** Declares it to the core. @param {any} onto */
  bind(onto) {
    const bound = new Bound(onto, this);
    const { socket, url, token, tokenFile } = this.options;
    const on = this.onHandlers.map((entry) => onSpec(bound, entry));
    const spec = { name: this.name, socket, url, token, token_file: tokenFile, on };
    this.bound = bound.attach(onto.tell(0, "client", spec));
    this.scope = new InstanceContext(bound);
    return bound;
  }

  /** Takes part in the program's life: while it is connected, the program does not end. */
  connected() {
    if (!this.isHeld) this.bound?.core.hold();
    this.isHeld = true;
  }

  async connect() {
    if (this.bound !== undefined) return this;
    const bound = this.bind(core());
    try {
      await bound.core.call(bound.handle, "connect", {});
    } catch (error) {
      this.forget();
      throw error;
    }
    this.connected();
    return this;
  }

  async close() {
    const bound = this.bound;
    if (bound === undefined) return;
    try {
      await bound.core.call(bound.handle, "close", {});
    } finally {
      this.forget();
    }
  }

  forget() {
    const bound = this.bound;
    this.bound = this.scope = undefined;
    if (this.isHeld) bound?.core.release();
    this.isHeld = false;
    bound?.detach();
  }

  async ended() {
    const { bound } = this.linked();
    await bound.core.call(bound.handle, "ended", {}, { isHeld: false });
  }

  /** @returns {any} */
  linked() {
    if (this.scope === undefined) {
      throw new TrunklineError("link_lost", `the client ${this.name} is not connected; hint: await client.connect()`);
    }
    return this.scope;
  }

  /** @param {string} topic @param {unknown} payload @param {any} [options] */
  async publish(topic, payload, options) {
    return this.linked().publish(topic, payload, options);
  }

  /** @param {...any} what */
  async emit(...what) {
    return this.linked().emit(...what);
  }

  /** @param {string} kind @param {unknown} message @param {any} [options] */
  async send(kind, message, options) {
    return this.linked().send(kind, message, options);
  }

  /** @param {string} name @param {any} [options] @param {any} [use] */
  async lock(name, options, use) {
    return this.linked().lock(name, options, use);
  }

  /** @param {string} name @param {unknown} [args] @param {any} [options] */
  callTool(name, args, options) {
    return this.linked().callTool(name, args, options);
  }

  /** @param {string} method @param {unknown} [params] @param {any} [options] */
  async request(method, params, options) {
    return this.linked().request(method, params, options);
  }

  get kv() {
    return this.linked().kv;
  }

  get blob() {
    return this.linked().blob;
  }

  get log() {
    return this.linked().log;
  }

  /** @param {string | string[]} filters @param {Record<string, any>} [options] */
  subscribe(filters, options = {}) {
    const { bound } = this.linked();
    return new Subscription(bound.core, bound.handle, { ...options, filters: [filters].flat() });
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}

module.exports = { Client };
