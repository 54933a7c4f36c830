"use strict";
// The low-level form that the plugin world knows: one callback for all events, one sender.

const { Plugin } = require("./plugin.js");
const { InstanceContext } = require("./scope.js");
const { TrunklineError } = require("./errors.js");
const { core, storage } = require("./core.js");
const { served, isPiped } = require("./run.js");

class BrokerSender {
  /** @param {() => InstanceContext} scope */
  constructor(scope) {
    Object.defineProperty(this, "scope", { value: scope });
  }

  /** @param {string} topic @param {unknown} event */
  async publish(topic, event) {
    return /** @type {any} */ (this).scope().publish(topic, event);
  }

  /** @param {string} method @param {unknown} [params] */
  async request(method, params) {
    return /** @type {any} */ (this).scope().request(method, params);
  }

  get instance() {
    return /** @type {any} */ (this).scope().instance;
  }
}

class PluginAdapter {
  /** @param {{ manifestToml: string, onEvent?: any, onStart?: any, onShutdown?: any }} options */
  constructor({ manifestToml, onEvent, onStart, onShutdown }) {
    const plugin = new Plugin("", { manifest: manifestToml });
    if (onEvent) {
      plugin.rest = (_payload, ctx) => onEvent(ctx.topic, ctx.event, new BrokerSender(() => ctx));
    }
    if (onStart) plugin.onStart(onStart);
    if (onShutdown) plugin.onStop(onShutdown);
    /** @type {any} */
    let bound;
    // A bad manifest is the error of `run`, so it is declared when somebody needs it.
    const bind = () => (bound ??= plugin.bind(core()));
    Object.defineProperties(this, { plugin: { value: plugin }, bind: { value: bind } });
    this.broker = new BrokerSender(() => storage.getStore() ?? new InstanceContext(bind()));
  }

  get instance() {
    return this.broker.instance;
  }

  async run() {
    await served([/** @type {any} */ (this)]);
  }

  async runStdio() {
    if (process.env.TRUNKLINE_LINK_FD !== undefined || !isPiped) {
      const text = "expected the link on stdin and stdout; hint: use run(), which takes any link";
      throw new TrunklineError("link_lost", text);
    }
    await this.run();
  }
}

module.exports = { PluginAdapter, BrokerSender };
