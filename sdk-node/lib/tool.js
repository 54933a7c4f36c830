"use strict";
// Tools: how a function becomes one, what its context has besides, and how one is called.

const { Context } = require("./context.js");
const { Batch, Receipt, Reject, Reply, Signal, returned } = require("./outcomes.js");
const { Event } = require("./event.js");
const { TrunklineError } = require("./errors.js");
const native = require("./native.js");
const { isStandard, toolSchema, validated } = require("./schema.js");

/** Options of a tool; their names are the core's. */
const OPTIONS = new Set(["description", "input", "output", "timeout", "concurrency", "idempotent", "streaming", "kind"]);

class ToolContext extends Context {
  get isTool() {
    return true;
  }

  get caller() {
    return this.envelope.source || undefined;
  }

  get idempotencyKey() {
    return this.bound.core.tell(this.target, "idempotency_key");
  }

  /** @param {any} value */
  returned(value) {
    if (value instanceof Signal) return returned(value);
    for (const refused of [Reply, Event, Batch, Receipt]) if (value instanceof refused) return { invalid: refused.name };
    return { result: value === undefined ? null : value };
  }
}

/**
 * Reads a registration.
 * @param {string} name @param {any} options @param {any} handler
 */
function toolEntry(name, options, handler) {
  const refuse = (/** @type {string} */ text) => {
    throw new TrunklineError("invalid_arguments", `tool ${JSON.stringify(name)}: ${text}`);
  };
  if (typeof handler !== "function") refuse(`expected a handler, found ${handler === undefined ? "nothing" : typeof handler}`);
  for (const key of Object.keys(options)) {
    if (!OPTIONS.has(key)) refuse(`expected one of the options ${[...OPTIONS].join(", ")}, found ${JSON.stringify(key)}`);
  }
  try {
    native.checkTool(name, options.input !== undefined);
  } catch (error) {
    throw TrunklineError.fromNative(error);
  }
  const input = toolSchema(name, "input", options.input);
  const output = toolSchema(name, "output", options.output);
  const declared = { ...options, input: input.schema, output: output.schema };
  declared.description ??= input.description || undefined;
  return { name, options: declared, handler, checks: isStandard(options.input) ? options.input : undefined };
}

/** @param {any} bound @param {any} entry */
function toolSpec(bound, { name, options, handler, checks }) {
  const streams = /^(Async)?GeneratorFunction$/.test(handler.constructor.name);
  const called = streams ? pieces(handler) : handler;
  const run = checks === undefined ? called : converted(called, checks);
  const spec = { ...options, name, handler: bound.number(run, undefined, ToolContext) };
  if (streams) spec.streaming = true;
  return spec;
}

/** Gives arguments in the form that their schema makes of them. @param {(args: any, ctx: any) => any} handler @param {any} schema */
function converted(handler, schema) {
  return async (/** @type {any} */ args, /** @type {any} */ ctx) => {
    const found = await validated(schema, args);
    if (found.issues) throw new Reject(`the arguments do not fit: ${found.issues}`, "invalid_arguments");
    return handler(found.value, ctx);
  };
}

/** Streams what a generator yields. @param {(args: any, ctx: any) => any} generator */
function pieces(generator) {
  return async (/** @type {any} */ args, /** @type {any} */ ctx) => {
    for await (const piece of generator(args, ctx)) await ctx.chunk(piece);
  };
}

class ToolCall {
  /** @type {Promise<any> | undefined} */
  #result = undefined;
  #isOver = false;

  /**
   * @param {any} core @param {number} target @param {string} name @param {unknown} args
   * @param {{ timeout?: string, instance?: string, idempotencyKey?: string, signal?: AbortSignal }} [options]
   */
  constructor(core, target, name, args, options = {}) {
    const { timeout, instance, idempotencyKey, signal } = options;
    signal?.throwIfAborted();
    const given = { name, arguments: args === undefined ? {} : args, timeout, instance, idempotency_key: idempotencyKey };
    const handle = core.tell(target, "call_tool", given);
    Object.defineProperties(this, { core: { value: core }, handle: { value: handle }, signal: { value: signal } });
    released.register(this, { core, handle });
  }

  /** @param {string} name */
  ask(name) {
    const { core, handle, signal } = /** @type {any} */ (this);
    return core.call(handle, name, {}, { signal }).catch((/** @type {any} */ error) => {
      if (signal?.aborted) this.cancel("the caller was cancelled");
      throw error;
    });
  }

  /** @returns {Promise<any>} */
  result() {
    return (this.#result ??= this.ask("result").finally(() => (this.#isOver = true)));
  }

  /** @param {any} [fulfilled] @param {any} [rejected] */
  then(fulfilled, rejected) {
    return this.result().then(fulfilled, rejected);
  }

  /** @param {any} [rejected] */
  catch(rejected) {
    return this.result().catch(rejected);
  }

  /** @param {any} [settled] */
  finally(settled) {
    return this.result().finally(settled);
  }

  /** @param {string} [reason] */
  cancel(reason) {
    if (this.#isOver) return;
    const { core, handle } = /** @type {any} */ (this);
    if (!core.isClosed) core.tell(handle, "cancel", { reason });
  }

  async *[Symbol.asyncIterator]() {
    for (let step = await this.ask("next"); step !== null; step = await this.ask("next")) yield stepOf(step);
  }

  get [Symbol.toStringTag]() {
    return "ToolCall";
  }
}

/** @param {any} step */
function stepOf({ kind, data, done, total, message }) {
  if (kind === "chunk") return { kind, data };
  return { kind, done: done ?? undefined, total: total ?? undefined, message: message ?? undefined, data: data ?? undefined };
}

const released = new FinalizationRegistry((/** @type {any} */ { core, handle }) => {
  if (!core.isClosed) core.forget(handle);
});

module.exports = { ToolCall, ToolContext, toolEntry, toolSpec };
