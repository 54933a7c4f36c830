"use strict";
// A plugin or a client on the core: its handle, its lives, and how its handlers are called.

const { Context } = require("./context.js");
const { InstanceContext } = require("./scope.js");
const { Reject } = require("./outcomes.js");
const { validated } = require("./schema.js");
const { TrunklineError } = require("./errors.js");
const { storage } = require("./core.js");

class Bound {
  /** @param {any} core @param {any} owner */
  constructor(core, owner) {
    this.core = core;
    this.owner = owner;
    this.handle = 0;
    /** The only kind of channel, where there is one. @type {string | undefined} */
    this.kind = owner.onlyKind;
    /** What belongs to one activation of an instance, by its handle. @type {Map<number, any>} */
    this.lives = new Map();
    /** The latest life of each instance. @type {Map<string, number>} */
    this.latest = new Map();
    /** @type {number[]} */
    this.registered = [];
  }

  /** @param {number} handle */
  attach(handle) {
    this.handle = handle;
    this.core.bound.set(handle, this);
    return this;
  }

  /** Forgets it: the core and this loop know it no more. */
  detach() {
    if (this.core.isClosed) return;
    this.core.bound.delete(this.handle);
    for (const number of this.registered) this.core.handlers[number] = undefined;
    this.core.forget(this.handle);
  }

  /** @param {number} target */
  life(target) {
    let life = this.lives.get(target);
    if (life === undefined) {
      const controller = new AbortController();
      life = { controller, signal: controller.signal, text: undefined, config: undefined };
      this.lives.set(target, life);
    }
    return life;
  }

  /** @param {number} target @param {number} instance */
  config(target, instance) {
    const text = this.core.tellText(target, "config");
    const life = this.life(instance);
    if (life.text !== text) {
      life.text = text;
      life.config = frozen(JSON.parse(text));
    }
    return life.config;
  }

  /**
   * Finds who translates an error to an outcome.
   * @param {any} error
   */
  translator(error) {
    for (const [Type, translate] of this.owner.translators ?? []) if (error instanceof Type) return translate;
    return undefined;
  }

  /**
   * Gives a handler its number.
   * @param {(payload: any, ctx: any) => any} handler
   * @param {any} schema
   * @param {any} [Ctx] What its context is.
   */
  number(handler, schema, Ctx = Context) {
    const run = schema === undefined ? handler : checked(handler, schema);
    const number = this.core.register({ bound: this, run, Context: Ctx });
    this.registered.push(number);
    return number;
  }

  /** @param {string} name @param {any} arg @param {number} target */
  async hook(name, arg, target) {
    const context = new InstanceContext(this, target);
    return storage.run(context, () => this.runHook(name, arg, context));
  }

  /** @param {string} name @param {any} arg @param {InstanceContext} context */
  async runHook(name, arg, context) {
    const hook = this.owner.hooks?.get(name);
    switch (name) {
      case "on_start":
        this.begun(context);
        if (this.owner.schema) await this.checkConfig(context.config);
        return hook?.(context);
      case "on_stop":
        if (this.latest.get(context.instance) === context.target) this.latest.delete(context.instance);
        this.life(context.target).controller.abort(new TrunklineError("cancelled", `the instance stops: ${arg}`));
        return hook?.(context, arg);
      case "on_config":
        if (this.owner.schema) await this.checkConfig(arg);
        await hook?.(context, frozen(arg));
        return undefined;
      case "connect_url":
        return this.owner.urls?.get(arg)?.(context);
      default:
        await hook?.(context, arg);
        return undefined;
    }
  }

  /** Begins a life; the one before it is over, however it ended. @param {InstanceContext} context */
  begun(context) {
    const { instance, target } = context;
    const before = this.latest.get(instance);
    if (before !== undefined) this.life(before).controller.abort(new TrunklineError("cancelled", "the instance began anew"));
    if (this.life(target).signal.aborted) this.lives.delete(target);
    this.latest.set(instance, target);
  }

  /** Stops what still lives, where nobody else does: at the end of a test. @param {string} reason */
  async stop(reason) {
    for (const target of [...this.latest.values()]) await this.hook("on_stop", reason, target);
  }

  /** @param {any} config */
  async checkConfig(config) {
    const found = await validated(this.owner.schema, config);
    if (found.issues) throw new TrunklineError("config_invalid", `the config does not fit: ${found.issues}`);
  }
}

/**
 * Checks payloads before a handler sees them.
 * @param {(payload: any, ctx: any) => any} handler
 * @param {any} schema
 */
function checked(handler, schema) {
  return async (/** @type {any} */ payload, /** @type {any} */ ctx) => {
    const found = await validated(schema, payload);
    if (found.issues) throw new Reject(`the payload does not fit: ${found.issues}`, "invalid_payload");
    return handler(found.value, ctx);
  };
}

/** @param {any} value */
function frozen(value) {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const key of Object.keys(value)) frozen(value[key]);
  return Object.freeze(value);
}

module.exports = { Bound };
