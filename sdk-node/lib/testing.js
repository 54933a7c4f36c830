"use strict";
// The real core in memory, with a clock that moves only when it is told.

const { AssertionError } = require("node:assert");
const { InstanceContext } = require("./scope.js");
const { Event } = require("./event.js");
const { TrunklineError } = require("./errors.js");
const { Client } = require("./client.js");
const { core } = require("./core.js");
const { HttpFake } = require("./outside.js");
const { SocketFake } = require("./sockets.js");

class TestBroker {
  /** @param {any} on @param {any} bound @param {{ broker: number, client: number }} started */
  constructor(on, bound, { broker, client }) {
    Object.defineProperties(this, {
      core: { value: on },
      bound: { value: bound },
      handle: { value: broker },
      scope: { value: new InstanceContext(new Speaker(on, client)) },
      attached: { value: [] },
    });
    this.isStopped = false;
  }

  /** @param {any[]} args */
  static async start(...args) {
    const [test, plugin, options = {}] = typeof args[0]?.bind === "function" && !args[0].after ? [undefined, ...args] : args;
    const on = core();
    const bound = plugin.bind(on);
    const { config, secrets, instances, manifest } = options;
    let started;
    try {
      started = await on.call(0, "testing.start", { plugin: bound.handle, config, secrets, instances, manifest });
    } catch (error) {
      bound.detach();
      throw error;
    }
    const broker = new TestBroker(on, bound, started);
    on.hold();
    test?.after(() => broker.stop());
    return broker;
  }

  /** @param {string} name @param {any} [args] @returns {Promise<any>} */
  ask(name, args = {}) {
    const { core, handle } = /** @type {any} */ (this);
    return core.call(handle, name, args);
  }

  /** @param {string} topic @param {unknown} payload @param {any} [options] */
  publish(topic, payload, options) {
    return /** @type {any} */ (this).scope.publish(topic, payload, options);
  }

  /** @param {string} kind @param {unknown} message @param {any} [options] */
  send(kind, message, options) {
    return /** @type {any} */ (this).scope.send(kind, message, options);
  }

  /** @param {string} name @param {unknown} [args] @param {any} [options] */
  callTool(name, args, options) {
    return /** @type {any} */ (this).scope.callTool(name, args, options);
  }

  get kv() {
    return /** @type {any} */ (this).scope.kv;
  }

  get blob() {
    return /** @type {any} */ (this).scope.blob;
  }

  /** @param {string} filter @param {any} [payload] @param {{ within?: string }} [options] */
  async expectPublished(filter, payload, options = {}) {
    try {
      return new Event(await this.ask("expect_published", { filter, payload, within: options.within }));
    } catch (error) {
      throw failed(error, this.expectPublished);
    }
  }

  /** @param {string} filter @param {any} [payload] @param {{ within?: string }} [options] */
  async expectNothing(filter, payload, options = {}) {
    try {
      await this.ask("expect_nothing", { filter, payload, within: options.within });
    } catch (error) {
      throw failed(error, this.expectNothing);
    }
  }

  /** @param {string} by */
  async advance(by) {
    await this.ask("advance", { by });
  }

  /** @param {string} kind @param {Record<string, any>} [request] */
  webhook(kind, { json, form, body, headers = {}, name, id, instance, query, session } = {}) {
    const given = /** @type {Record<string, any>} */ ({ kind, name, id, instance, query, session, form });
    given.headers = Object.fromEntries(Object.entries(headers).map(([word, value]) => [word.toLowerCase(), value]));
    if (json !== undefined) {
      body = JSON.stringify(json);
      given.headers["content-type"] ??= "application/json";
    }
    if (typeof body === "string") given.body = body;
    else if (body !== undefined) given.body_base64 = Buffer.from(body).toString("base64");
    return this.ask("webhook", given);
  }

  async settle() {
    await this.ask("settle");
  }

  deadLetters() {
    return this.ask("dead_letters");
  }

  async restart() {
    await this.ask("restart");
  }

  /** @param {Client} client */
  async attach(client) {
    const bound = client.bind(/** @type {any} */ (this).core);
    try {
      await this.ask("attach", { client: bound.handle });
    } catch (error) {
      client.forget();
      throw error;
    }
    client.connected();
    /** @type {any} */ (this).attached.push(client);
    return client;
  }

  /** @param {string} server */
  http(server) {
    const { core, handle } = /** @type {any} */ (this);
    return new HttpFake(core, handle, server);
  }

  /** @param {string} url */
  socket(url) {
    const { core, handle } = /** @type {any} */ (this);
    const ask = async (/** @type {string} */ name, /** @type {any} */ args) => {
      try {
        return await this.ask(name, args);
      } catch (error) {
        throw failed(error, ask);
      }
    };
    return new SocketFake(core, handle, ask, url);
  }

  /** @param {{ at: string }} where */
  kill({ at }) {
    const { core, handle } = /** @type {any} */ (this);
    core.tell(handle, "kill", { at });
  }

  /** @param {string} fault @param {{ times?: number }} [options] */
  fault(fault, { times = 1 } = {}) {
    const { core, handle } = /** @type {any} */ (this);
    core.tell(handle, "fault", { fault, times });
  }

  async stop() {
    if (this.isStopped) return;
    this.isStopped = true;
    const { core, bound, attached, handle } = /** @type {any} */ (this);
    try {
      for (const client of attached) await client.close();
      await bound.stop("the test is over");
      await this.ask("stop");
    } finally {
      core.release();
      bound.detach();
      core.forget(handle);
    }
  }

  async [Symbol.asyncDispose]() {
    await this.stop();
  }
}

/** The test's own client, as a context takes it. */
class Speaker {
  /** @param {any} core @param {number} handle */
  constructor(core, handle) {
    this.core = core;
    this.handle = handle;
    this.kind = undefined;
  }
}

/** A failed expectation is a failed assertion. @param {any} error @param {Function} above */
function failed(error, above) {
  if (!(error instanceof TrunklineError) || error.code !== "internal") return error;
  return new AssertionError({ message: error.message, stackStartFn: above });
}

/** Plays a scenario. @param {any} plugin @param {string} scenario */
async function play(plugin, scenario) {
  const on = core();
  const bound = plugin.bind(on);
  on.hold();
  try {
    return await on.call(0, "testing.play", { plugin: bound.handle, scenario });
  } catch (error) {
    throw failed(error, play);
  } finally {
    on.release();
    bound.detach();
  }
}

module.exports = { TestBroker, play };
