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
const { Reply, returned, thrown } = require("./outcomes.js");

/** What is being handled: a context, for the records of logs. @type {AsyncLocalStorage<any>} */
const storage = new AsyncLocalStorage();

/** Runs a function after what is about to run. */
const SETTLED = Promise.resolve();
/** Rounds of the microtask queue after which a turn is over. */
const HOPS = 3;

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
    /** What this turn has to say: a line for each decision and call. */
    this.said = "";
    this.hops = 0;
    this.holds = 0;
    /** @type {any} */
    this.holding = undefined;
    this.isClosed = false;
    /** When the current batch was taken, for deadlines. */
    this.drainedAt = 0;
    this.native = native.Core.start(() => this.drain());
    this.hop = this.hop.bind(this);
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
        return this.resolve(message[1], message[2]);
      case WIDE_REPLY:
        return this.resolve(message[1], decodeTagged(message[2]));
      case REFUSAL:
        return this.answered(message[1])?.resolve(refused(message[2]));
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
    const ticket = ctx.ticket;
    this.live.delete(ticket);
    try {
      if (ctx.isTool) {
        this.say("d", "D", ticket, ctx.returned(value));
      } else if (value instanceof Reply) {
        this.say("r", "R", ticket, value.payload === undefined ? null : value.payload);
      } else {
        this.say("d", "D", ticket, returned(value));
      }
    } catch (error) {
      this.complete(ticket, thrown(error));
    }
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
    try {
      this.say("d", "D", ticket, outcome);
    } catch (error) {
      this.say("d", "D", ticket, thrown(error));
    }
  }

  /**
   * Adds a line to what this turn has to say.
   * @param {string} plain
   * @param {string} marked The letter of a line whose text is tagged.
   * @param {number | string} head
   * @param {unknown} value
   */
  say(plain, marked, head, value) {
    const { text, tagged } = encode(value);
    if (this.said === "") {
      this.said = `${tagged ? marked : plain}${head} ${text}`;
      if (this.hops === 0) SETTLED.then(this.hop);
    } else {
      this.said += `\n${tagged ? marked : plain}${head} ${text}`;
    }
  }

  /** Lets what settles within this turn settle first: it crosses with the rest. */
  hop() {
    if (++this.hops < HOPS) {
      SETTLED.then(this.hop);
      return;
    }
    this.hops = 0;
    this.flush();
  }

  flush() {
    const said = this.said;
    if (said === "") return;
    this.said = "";
    if (!this.isClosed) this.native.turn(said);
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

  /** @param {number} op @param {any} answer */
  resolve(op, answer) {
    const waiting = this.answered(op);
    if (waiting !== undefined) waiting.resolve(waiting.read === undefined ? answer : waiting.read(answer));
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
   * Asks the core for something; the promise is settled by its answer.
   * @param {number} target
   * @param {string} name
   * @param {unknown} args
   * @param {{ signal?: AbortSignal, isHeld?: boolean, read?: (answer: any) => any }} [options]
   * @returns {Promise<any>}
   */
  call(target, name, args, options) {
    return new Promise((resolve, reject) => this.begin(target, name, args, options, resolve, reject));
  }

  /**
   * @param {number} target
   * @param {string} name
   * @param {unknown} args
   * @param {{ signal?: AbortSignal, isHeld?: boolean, read?: (answer: any) => any } | undefined} options
   * @param {(value: any) => void} resolve
   * @param {(error: unknown) => void} reject
   */
  begin(target, name, args, options, resolve, reject) {
    const signal = options?.signal;
    signal?.throwIfAborted();
    if (this.isClosed) throw closed();
    const op = ++this.lastNumber;
    this.say("c", "C", `${op} ${target} ${name}`, args);
    const isHeld = options?.isHeld !== false;
    if (isHeld) this.hold();
    const waiting = { resolve, reject, isHeld, read: options?.read };
    this.waiting.set(op, waiting);
    if (signal === undefined) return;
    const abort = () => {
      if (this.answered(op) === undefined) return;
      // The call may not have gone out yet.
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
      this.answered(op)?.reject(closed());
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

/**
 * Rejects with an error of the core; its stack is to show who asked, so it is made when that one is about to go on.
 * @param {any} wire
 * @returns {Promise<never>}
 */
async function refused(wire) {
  // Two turns of the queue: then the promise that was given out waits for this one.
  await null;
  await null;
  const error = TrunklineError.fromCore(wire);
  Error.captureStackTrace(error, refused);
  throw error;
}

function closed() {
  return new TrunklineError("link_lost", "the core of this program was closed");
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
