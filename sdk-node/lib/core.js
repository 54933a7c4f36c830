"use strict";
// The loop's side of the boundary: takes what the core has, runs it, and gives everything back in
// one crossing per turn. One core per environment (the program, or a worker thread).
//
// Invariants: the core never calls a function of the user; every event that was taken is completed
// once; nothing here throws into the loop.

const { AsyncLocalStorage } = require("node:async_hooks");
const native = require("./native.js");
const { encode, decodeTagged } = require("./json.js");
const { TrunklineError } = require("./errors.js");
const { returned, thrown } = require("./outcomes.js");

/** What is being handled: a context, for the records of logs. @type {AsyncLocalStorage<any>} */
const storage = new AsyncLocalStorage();

const READY = Promise.resolve();

const EVENT = 0, WIDE_EVENT = 1, INVOKE = 2, CANCEL = 3, REPLY = 4, REFUSAL = 5, WIDE_REPLY = 6, LOG = 7;

class Core {
  constructor() {
    /** Answers that are waited for, by the number of the call. @type {Map<number, any>} */
    this.waiting = new Map();
    /** What is being handled, by ticket. @type {Map<number, any>} */
    this.live = new Map();
    /** Handlers by their number. @type {any[]} */
    this.handlers = [];
    /** Plugins and clients by their handle. @type {Map<number, any>} */
    this.bound = new Map();
    /** Functions that a call lent to the core, by number. @type {Map<number, any>} */
    this.functions = new Map();
    /** Where lines of the core go. @type {(level: string, target: string, message: string, fields: any) => void} */
    this.onLog = () => {};
    this.lastNumber = 0;
    /** Calls and outcomes of this turn, as the core reads them. */
    this.calls = "";
    this.hasTaggedCalls = false;
    this.plain = "";
    this.tagged = "";
    this.willFlush = false;
    this.holds = 0;
    /** @type {any} */
    this.holding = undefined;
    this.isClosed = false;
    /** When the current batch was taken, for deadlines. */
    this.drainedAt = 0;
    this.native = native.Core.start(() => this.drain());
    this.flush = this.flush.bind(this);
    const blockedMs = Number(process.env.TRUNKLINE_BLOCKED_MS);
    if (blockedMs > 0) this.tell(0, "config", { blocked_ms: blockedMs });
  }

  /** Keeps the program alive until it is released as often. */
  hold() {
    // The wake-up alone does not keep the loop; a timer that never comes does.
    if (this.holds++ === 0) this.holding = setInterval(() => {}, 0x7fffffff);
  }

  release() {
    if (--this.holds === 0) clearInterval(this.holding);
  }

  drain() {
    this.drainedAt = performance.now();
    try {
      const batch = JSON.parse(this.native.drain());
      for (let i = 0; i < batch.length; i++) this.take(batch[i]);
    } catch (error) {
      if (!this.isClosed) complain("the batch of the core cannot be read", error);
    }
  }

  /** @param {any[]} message */
  take(message) {
    switch (message[0]) {
      case EVENT:
        return this.event(message, message[4]);
      case WIDE_EVENT:
        return this.event(message, decodeTagged(message[4]));
      case REPLY:
        return this.answered(message[1])?.resolve(message[2]);
      case WIDE_REPLY:
        return this.answered(message[1])?.resolve(decodeTagged(message[2]));
      case REFUSAL:
        return this.answered(message[1])?.reject(TrunklineError.fromCore(message[2]));
      case INVOKE:
        void this.invoke(message);
        return;
      case CANCEL:
        this.live.get(message[1])?.cancel();
        return;
      case LOG:
        this.onLog(message[1], message[2], message[3], message[4]);
        return;
      default:
        complain(`the core said something unknown: ${message[0]}`);
    }
  }

  /** @param {any[]} message @param {any} envelope */
  event(message, envelope) {
    const handler = this.handlers[message[2]];
    if (handler === undefined) {
      this.complete(message[1], thrown(new Error(`there is no handler ${message[2]}`)));
      return;
    }
    const ctx = new handler.Context(handler.bound, message, envelope);
    this.live.set(message[1], ctx);
    storage.run(ctx, handle, this, handler.run, ctx);
  }

  /** @param {any} ctx @param {any} value */
  done(ctx, value) {
    this.live.delete(ctx.ticket);
    let outcome;
    try {
      outcome = returned(value);
    } catch (error) {
      outcome = thrown(error);
    }
    this.complete(ctx.ticket, outcome);
  }

  /** @param {any} ctx @param {any} error */
  failed(ctx, error) {
    const translate = ctx.bound.translator(error);
    if (translate === undefined) {
      this.live.delete(ctx.ticket);
      this.complete(ctx.ticket, thrown(error));
      return;
    }
    Promise.resolve()
      .then(() => translate(error, ctx))
      .then(
        (value) => this.done(ctx, value === undefined ? error : value),
        (again) => this.done(ctx, again),
      );
  }

  /** @param {number} ticket @param {Record<string, any> | null} outcome */
  complete(ticket, outcome) {
    if (outcome === null) {
      this.plain += `,[${ticket},null]`;
    } else {
      let written;
      try {
        written = encode(outcome);
      } catch (error) {
        written = encode(thrown(error));
      }
      if (written.tagged) this.tagged += `,[${ticket},${written.text}]`;
      else this.plain += `,[${ticket},${written.text}]`;
    }
    this.flushLater();
  }

  flushLater() {
    if (this.willFlush) return;
    this.willFlush = true;
    // Not `queueMicrotask`: that makes a resource of its own for whoever follows contexts.
    void READY.then(this.flush);
  }

  flush() {
    this.willFlush = false;
    const { calls, hasTaggedCalls, plain, tagged } = this;
    this.calls = this.plain = this.tagged = "";
    if (this.isClosed) return;
    if (calls !== "" && hasTaggedCalls) this.native.exchange(`[${calls.slice(1)}]`, "", true);
    const plainCalls = calls === "" || hasTaggedCalls ? "" : `[${calls.slice(1)}]`;
    if (plainCalls !== "" || plain !== "") this.native.exchange(plainCalls, plain === "" ? "" : `[${plain.slice(1)}]`, false);
    if (tagged !== "") this.native.exchange("", `[${tagged.slice(1)}]`, true);
  }

  /** Calls a hook, or a function that a call lent. @param {any[]} message */
  async invoke([, ticket, target, name, arg, plugin]) {
    let outcome;
    try {
      const value = await (typeof name === "number" ? this.functions.get(name)?.(arg) : this.bound.get(plugin)?.hook(name, arg, target));
      outcome = { state: value === undefined ? null : value };
    } catch (error) {
      outcome = thrown(error);
    }
    this.complete(ticket, outcome);
  }

  /** @param {number} op */
  answered(op) {
    const waiting = this.waiting.get(op);
    if (waiting !== undefined) {
      this.waiting.delete(op);
      if (waiting.isHeld) this.release();
    }
    return waiting;
  }

  /**
   * Asks the core for something, and waits for its answer.
   * @param {number} target
   * @param {string} name
   * @param {unknown} args
   * @param {{ signal?: AbortSignal, isHeld?: boolean }} [options]
   * @param {(value: any) => any} [read] Makes what the caller gets.
   * @returns {Promise<any>}
   */
  async call(target, name, args, options, read) {
    try {
      const value = await new Promise((resolve, reject) => this.begin(target, name, args, options, resolve, reject));
      return read === undefined ? value : read(value);
    } catch (error) {
      // The error was made on the way of the answer; its stack is to show who asked.
      if (error instanceof TrunklineError) Error.captureStackTrace(error, this.call);
      throw error;
    }
  }

  /**
   * @param {number} target
   * @param {string} name
   * @param {unknown} args
   * @param {{ signal?: AbortSignal, isHeld?: boolean } | undefined} options
   * @param {(value: any) => void} resolve
   * @param {(error: unknown) => void} reject
   */
  begin(target, name, args, options, resolve, reject) {
    const signal = options?.signal;
    signal?.throwIfAborted();
    const { text, tagged } = encode(args);
    if (this.isClosed) throw new TrunklineError("link_lost", "the core of this program was closed");
    const op = ++this.lastNumber;
    const isHeld = options?.isHeld !== false;
    // Calls reach the core in their order, so one text holds calls of one form.
    if (this.calls !== "" && this.hasTaggedCalls !== tagged) this.flush();
    this.hasTaggedCalls = tagged;
    this.calls += `,[${op},${target},"${name}",${text}]`;
    this.flushLater();
    if (isHeld) this.hold();
    const waiting = { resolve, reject, isHeld };
    this.waiting.set(op, waiting);
    if (signal === undefined) return;
    const abort = () => {
      if (this.answered(op) === undefined) return;
      this.flush();
      this.native.cancel(op);
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    waiting.resolve = (value) => (signal.removeEventListener("abort", abort), resolve(value));
    waiting.reject = (error) => (signal.removeEventListener("abort", abort), reject(error));
  }

  /**
   * Asks the core for something that it knows at once.
   * @param {number} target
   * @param {string} name
   * @param {unknown} [args]
   */
  tell(target, name, args) {
    const text = this.tellText(target, name, args);
    return text === "" ? null : JSON.parse(text);
  }

  /**
   * @param {number} target
   * @param {string} name
   * @param {unknown} [args]
   * @returns {string}
   */
  tellText(target, name, args = {}) {
    const { text, tagged } = encode(args);
    try {
      return this.native.tell(target, name, text, tagged);
    } catch (error) {
      throw TrunklineError.fromNative(error);
    }
  }

  /** Gives the payload's bytes of the event behind a ticket. @param {number} ticket @returns {Buffer} */
  raw(ticket) {
    try {
      return this.native.raw(ticket);
    } catch (error) {
      throw TrunklineError.fromNative(error);
    }
  }

  /** Forgets a handle; one that is not known any more is forgotten already. @param {number} handle */
  forget(handle) {
    try {
      this.native.tell(handle, "forget", "{}", false);
    } catch {
      return;
    }
  }

  /**
   * Lends a function to the core for the time of a call.
   * @param {(arg: any) => any} run
   * @returns {number}
   */
  lend(run) {
    const number = ++this.lastNumber;
    this.functions.set(number, run);
    return number;
  }

  /** Gives a handler its number. @param {any} handler @returns {number} */
  register(handler) {
    return this.handlers.push(handler) - 1;
  }

  /** @param {number} graceMs */
  close(graceMs) {
    if (this.isClosed) return;
    this.flush();
    this.native.close(graceMs);
    this.drain();
    this.isClosed = true;
    for (const op of [...this.waiting.keys()]) {
      this.answered(op)?.reject(new TrunklineError("link_lost", "the core of this program was closed"));
    }
    if (current === this) current = undefined;
  }
}

/**
 * Runs a handler; at least one microtask before anything is flushed.
 * @param {Core} core
 * @param {(payload: any, ctx: any) => any} run
 * @param {any} ctx
 */
function handle(core, run, ctx) {
  let value;
  try {
    value = run(ctx.payload, ctx);
  } catch (error) {
    core.failed(ctx, error);
    return;
  }
  if (value !== null && typeof value === "object" && typeof value.then === "function") {
    value.then(
      (/** @type {any} */ value) => core.done(ctx, value),
      (/** @type {any} */ error) => core.failed(ctx, error),
    );
  } else {
    core.done(ctx, value);
  }
}

/** @param {string} what @param {any} [error] */
function complain(what, error) {
  process.stderr.write(`trunkline: ${what}${error ? `: ${error.stack ?? error}` : ""}\n`);
}

/** @type {Core | undefined} */
let current;

/** Gives the core of this environment; the first to ask starts it. */
function core() {
  return (current ??= new Core());
}

/** Gives the core, if it was started. */
function startedCore() {
  return current;
}

module.exports = { Core, core, startedCore, storage, complain };
