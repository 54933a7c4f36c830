"use strict";
// What a handler can reach while one event is handled. All of it is made when it is asked for.

const { inspect } = require("node:util");
const { handed, kindOf } = require("./event.js");
const { InstanceContext, PUBLISHED } = require("./scope.js");
const { Reject, Retry, retryOf, rejectOf } = require("./outcomes.js");
const { TrunklineError } = require("./errors.js");
const { Kv } = require("./kv.js");

// Places in the core's message of an event.
const TICKET = 1, TOPIC = 3, ATTEMPT = 5, REDELIVERED = 6, SUBSCRIPTION = 7, TIMEOUT_MS = 8, INSTANCE = 9;

class Context extends InstanceContext {
  /** @param {any} bound @param {any[]} message @param {any} envelope */
  constructor(bound, message, envelope) {
    super(bound, message[TICKET]);
    this.message = message;
    this.envelope = envelope;
    this.received = bound.core.drainedAt;
    this.isCancelled = false;
    /** @type {AbortController | undefined} */
    this.controller = undefined;
    /** @type {import("./event.js").Event | undefined} */
    this.made = undefined;
  }

  [inspect.custom]() {
    return `Context { topic: ${JSON.stringify(this.message[TOPIC])}, event: ${JSON.stringify(this.envelope.id)} }`;
  }

  get ticket() {
    return this.target;
  }

  /** The instance's own handle: it outlives the ticket. */
  get instanceHandle() {
    return this.message[INSTANCE];
  }

  get payload() {
    return this.envelope.payload;
  }

  get event() {
    return (this.made ??= handed(this.envelope, this.message[TOPIC], () => this.bound.core.raw(this.target)));
  }

  get topic() {
    return this.message[TOPIC];
  }

  get kind() {
    return kindOf(this.message[TOPIC]);
  }

  get delivery() {
    const message = this.message;
    if (message[ATTEMPT] === 0) return undefined;
    return {
      attempt: message[ATTEMPT],
      redelivered: message[REDELIVERED] === 1,
      subscription: message[SUBSCRIPTION] ?? undefined,
      replay_of: this.envelope.metadata?.replay_of,
    };
  }

  get session() {
    return {
      id: this.envelope.session_id ?? undefined,
      kv: new Kv(this.bound.core, this.target, "session"),
    };
  }

  get deadline() {
    return new Date(Date.now() + this.remaining);
  }

  get assembly() {
    return this.envelope.metadata?.assembly;
  }

  get remaining() {
    return Math.max(0, this.received + this.message[TIMEOUT_MS] - performance.now());
  }

  get isTool() {
    return false;
  }

  /** @type {string | undefined} */
  get caller() {
    return undefined;
  }

  /** @param {unknown} data */
  async chunk(data) {
    await this.bound.core.call(this.target, "chunk", { data: data === undefined ? null : data });
  }

  get idempotencyKey() {
    return this.bound.core.tell(this.target, "idempotency_key");
  }

  get split() {
    return this.bound.core.tell(this.target, "split");
  }

  /** @param {unknown} payload */
  reply(payload) {
    return this.bound.core.call(this.target, "reply", { payload: payload === undefined ? null : payload }, PUBLISHED);
  }

  get cancelled() {
    return this.isCancelled;
  }

  get signal() {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.isCancelled) this.controller.abort(reason(this));
    }
    return this.controller.signal;
  }

  cancel() {
    this.isCancelled = true;
    this.controller?.abort(reason(this));
  }

  ack() {
    this.bound.core.tell(this.target, "settle", { ack: true });
  }

  /** @param {string} after @param {string} [why] @param {{ counted?: boolean }} [options] */
  nak(after, why, options) {
    this.bound.core.tell(this.target, "settle", { nak: retryOf(new Retry(after, why, options)) });
  }

  /** @param {string} why @param {string} [code] */
  reject(why, code) {
    this.bound.core.tell(this.target, "settle", { reject: rejectOf(new Reject(why, code)) });
  }
}

/** @param {Context} ctx */
function reason(ctx) {
  return ctx.remaining <= 0
    ? new TrunklineError("timed_out", "the handler's time is over")
    : new TrunklineError("cancelled", "the work is to end");
}

module.exports = { Context };
