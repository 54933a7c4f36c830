"use strict";
// The one error of the package: its `code` is the catalogue's, the texts are the core's.

/** Codes after which the same request may succeed later; the core says so itself for its errors. */
const RETRYABLE = new Set([
  "rate_limited",
  "storage_full",
  "draining",
  "instance_busy",
  "not_active",
  "unavailable",
  "timed_out",
  "lock_held",
  "link_lost",
]);

/** Exit statuses, after `sysexits.h`, of the codes that a program may end with. */
const EXIT = new Map([
  ["unauthorized", 77],
  ["topic_not_granted", 77],
  ["config_invalid", 78],
  ["declaration_conflict", 78],
  ["protocol_mismatch", 76],
  ["protocol_violation", 76],
  ["invalid_arguments", 64],
  ["invalid_topic", 65],
  ["invalid_payload", 65],
  ["unavailable", 69],
  ["link_lost", 75],
  ["instance_busy", 75],
  ["draining", 75],
  ["timed_out", 75],
  ["storage_full", 74],
]);

class TrunklineError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retryable?: boolean, retryAfterMs?: number, detail?: unknown, cause?: unknown }} [options]
   */
  constructor(code, message, options = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.retryable = options.retryable ?? RETRYABLE.has(code);
    if (options.retryAfterMs != null) this.retryAfterMs = options.retryAfterMs;
    if (options.detail != null) this.detail = options.detail;
  }

  /** @param {any} wire The error as the core writes it. */
  static fromCore(wire) {
    return new TrunklineError(wire.code, wire.message, {
      retryable: wire.retryable,
      retryAfterMs: wire.retry_after_ms,
      detail: wire.detail,
    });
  }

  /** @param {any} thrown What a function of the native half threw. */
  static fromNative(thrown) {
    try {
      return TrunklineError.fromCore(JSON.parse(thrown.message));
    } catch {
      return thrown;
    }
  }

  toJSON() {
    const { code, message, retryable, retryAfterMs, detail } = /** @type {any} */ (this);
    return { code, message, retryable, retry_after_ms: retryAfterMs, detail };
  }
}
Object.defineProperty(TrunklineError.prototype, "name", { value: "TrunklineError", configurable: true, writable: true });

/** @param {unknown} error @returns {number} */
function exitCode(error) {
  return (error instanceof TrunklineError && EXIT.get(error.code)) || (error instanceof TrunklineError ? 70 : 1);
}

module.exports = { TrunklineError, exitCode };
