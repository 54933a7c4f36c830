"use strict";
// What a handler says by what it returns or throws, and how that is written for the core.

const { TrunklineError } = require("./errors.js");
const { scheduleOf } = require("./timer.js");
const { Event, toDraft } = require("./event.js");
const { describe } = require("./locate.js");
const { Part, partArgs } = require("./part.js");

class Reply {
  /** @param {unknown} payload */
  constructor(payload) {
    this.payload = payload;
  }
}

class Receipt {
  /**
   * @param {string} state
   * @param {{ providerId?: string, error?: Record<string, any>, part?: { n: number, of: number }, degraded?: string[] }} [options]
   */
  constructor(state, options = {}) {
    this.state = state;
    this.providerId = options.providerId;
    this.error = options.error;
    this.part = options.part;
    this.degraded = options.degraded;
  }
}

class Batch {
  /**
   * @param {Iterable<Event>} [events]
   * @param {{ kv?: Iterable<Record<string, any>>, timers?: Iterable<Record<string, any>>, ifLock?: { name: string, token: number }, cursor?: any, again?: string, ack?: any, parts?: Iterable<Part> }} [options]
   */
  constructor(events = [], options = {}) {
    this.events = [...events];
    this.kv = [...(options.kv ?? [])];
    this.timers = [...(options.timers ?? [])].map(timerOf);
    this.ifLock = options.ifLock;
    this.cursor = options.cursor;
    this.again = options.again;
    this.ack = options.ack;
    this.parts = [...(options.parts ?? [])];
  }
}

/** Is thrown as often as returned, hence an error. */
class Signal extends Error {}

class Retry extends Signal {
  /**
   * @param {string} after
   * @param {string} [reason]
   * @param {{ counted?: boolean }} [options]
   */
  constructor(after, reason = "", options = {}) {
    super(reason);
    this.after = after;
    this.reason = reason;
    this.counted = options.counted ?? true;
  }
}

class Reject extends Signal {
  /**
   * @param {string} reason
   * @param {string} [code]
   */
  constructor(reason, code) {
    super(reason);
    this.reason = reason;
    this.code = code;
  }
}

class RetryLater extends Signal {
  /**
   * @param {string} reason
   * @param {string} [after]
   */
  constructor(reason, after) {
    super(reason);
    this.reason = reason;
    this.after = after;
  }
}

class NeedsAuth extends Signal {
  /**
   * @param {string} reason
   * @param {string} [url]
   */
  constructor(reason, url) {
    super(reason);
    this.reason = reason;
    this.url = url;
  }
}

class Fatal extends Signal {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

class ToolError extends Signal {
  /**
   * @param {string} message
   * @param {string} [code]
   * @param {boolean} [retryable]
   */
  constructor(message, code, retryable = false) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

for (const [name, type] of Object.entries({ Retry, Reject, RetryLater, NeedsAuth, Fatal, ToolError })) {
  Object.defineProperty(type.prototype, "name", { value: name, configurable: true, writable: true });
}

/** @param {Retry} retry */
function retryOf({ after, reason, counted }) {
  return { after, reason, counted };
}

/** @param {Reject} reject */
function rejectOf({ reason, code }) {
  return code === undefined ? { reason } : { reason, code };
}

/** @param {Receipt} receipt */
function receiptOf({ state, providerId, error, part, degraded }) {
  return { state, provider_id: providerId, error, part, degraded };
}

/** @param {any} value @returns {Record<string, any>} */
function draftOf(value) {
  if (value instanceof Event) return toDraft(value);
  if (value instanceof Receipt) return { receipt: receiptOf(value) };
  throw new TypeError(`expected an Event or a Receipt, found ${typeName(value)}`);
}

/** @param {Batch} batch */
function batchOf({ events, kv, timers, ifLock, cursor, again, ack, parts }) {
  const made = /** @type {Record<string, any>} */ ({ events: events.map(draftOf) });
  if (kv.length > 0) made.kv = kv.map(changeOf);
  if (timers.length > 0) made.timers = timers;
  if (ifLock) made.if_lock = { name: ifLock.name, token: ifLock.token };
  if (parts.length > 0) made.parts = parts.map(partArgs);
  // A cursor of null forgets; JSON leaves out what is undefined.
  return { ...made, cursor, again, ack };
}

/** @param {Record<string, any>} change */
function timerOf({ op, name, ...schedule }) {
  return op === "cancel" ? { op, name } : { op, name, schedule: scheduleOf(schedule) };
}

/** @param {Record<string, any>} change */
function changeOf({ op, key, value, ttl, ifRevision }) {
  const made = /** @type {Record<string, any>} */ ({ op, key, ttl, if_revision: ifRevision });
  if (op === "put") made.value = value === undefined ? null : value;
  return made;
}

/** @param {any} value */
function typeName(value) {
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return value.constructor?.name || "object";
}

/**
 * Writes what a handler returned.
 * @param {any} value
 * @returns {Record<string, any> | null}
 */
function returned(value) {
  if (value === undefined || value === null) return null;
  if (value instanceof Reply) return { reply: value.payload === undefined ? null : value.payload };
  if (typeof value === "string") return { text: value };
  if (value instanceof Event) return { events: [toDraft(value)] };
  if (value instanceof Receipt) return { receipt: receiptOf(value) };
  if (value instanceof Batch) return batchOf(value);
  if (value instanceof Signal) return signalled(value);
  if (value instanceof Part) return { parts: [partArgs(value)] };
  if (Array.isArray(value) && value.length > 0 && value.every((one) => one instanceof Part)) return { parts: value.map(partArgs) };
  if (Array.isArray(value) && value.every((one) => one instanceof Event || one instanceof Receipt)) {
    return { events: value.map(draftOf) };
  }
  return { invalid: typeName(value) };
}

/** @param {Signal} value */
function signalled(value) {
  if (value instanceof Retry) return { retry: retryOf(value) };
  if (value instanceof Reject) return { reject: rejectOf(value) };
  if (value instanceof RetryLater) return { retry_later: { reason: value.reason, after: value.after } };
  if (value instanceof NeedsAuth) return { needs_auth: { reason: value.reason, url: value.url } };
  if (value instanceof Fatal) return { fatal: { reason: value.reason } };
  if (value instanceof ToolError) return { tool_error: { message: value.message, code: value.code, retryable: value.retryable } };
  return { failed: describe(value) };
}

/**
 * Writes what a handler threw.
 * @param {unknown} error
 * @returns {Record<string, any>}
 */
function thrown(error) {
  if (error instanceof Signal) return signalled(error);
  if (error instanceof TrunklineError) {
    const { location, traceback } = describe(error);
    return { error: { ...error.toJSON(), location, traceback } };
  }
  return { failed: describe(error) };
}

module.exports = {
  Reply,
  Receipt,
  Batch,
  Retry,
  Reject,
  RetryLater,
  NeedsAuth,
  Fatal,
  ToolError,
  Signal,
  returned,
  thrown,
  retryOf,
  rejectOf,
  batchOf,
  draftOf,
};
