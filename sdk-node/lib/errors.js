"use strict";
// The one error of the package: its `code` is the catalogue's, the texts are the core's.

/**
 * The catalogue: the exit status of a program that ends with the code (after `sysexits.h`), and whether the same request
 * may succeed later. A test holds it to the contract's.
 * @type {Record<string, [number, boolean]>}
 */
const CATALOGUE = {
  topic_not_granted: [77, false],
  invalid_topic: [65, false],
  invalid_frame: [65, false],
  frame_too_large: [65, false],
  unrouted: [65, false],
  id_conflict: [65, false],
  revision_conflict: [75, false],
  lock_lost: [75, false],
  rate_limited: [75, true],
  storage_full: [74, true],
  draining: [75, true],
  stale_generation: [75, false],
  stale_lease: [75, false],
  instance_busy: [75, true],
  not_active: [75, true],
  protocol_mismatch: [76, false],
  gap: [65, false],
  tool_not_found: [66, false],
  unavailable: [69, true],
  not_found: [66, false],
  not_implemented: [69, false],
  invalid_arguments: [64, false],
  tool_failed: [70, false],
  outcome_unknown: [70, false],
  timed_out: [75, true],
  cancelled: [75, false],
  quota_exceeded: [73, false],
  lock_held: [75, true],
  unauthorized: [77, false],
  link_lost: [75, true],
  declaration_conflict: [78, false],
  protocol_violation: [76, false],
  http_error: [69, false],
  config_invalid: [78, false],
  invalid_payload: [65, false],
  invalid_return: [70, false],
  delivery_failed: [69, false],
  delivery_unknown: [70, false],
  internal: [70, false],
};

class TrunklineError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retryable?: boolean, retryAfterMs?: number, detail?: unknown, cause?: unknown }} [options]
   */
  constructor(code, message, options = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.retryable = options.retryable ?? CATALOGUE[code]?.[1] ?? false;
    if (options.retryAfterMs != null) this.retryAfterMs = options.retryAfterMs;
    if (options.detail != null) this.detail = options.detail;
  }

  /** @param {any} wire The error as the core writes it. */
  static fromCore(wire) {
    const kind = wire.code === "http_error" ? HttpError : TrunklineError;
    return new kind(wire.code, wire.message, {
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

class HttpError extends TrunklineError {
  /** @returns {any} */
  get said() {
    return /** @type {any} */ (this).detail ?? {};
  }

  get status() {
    return this.said.status ?? undefined;
  }

  get class() {
    return this.said.class ?? "not_sent";
  }

  get url() {
    return this.said.url ?? "";
  }

  get body() {
    return this.said.body ?? undefined;
  }
}

/** @param {unknown} error @returns {number} */
function exitCode(error) {
  return error instanceof TrunklineError ? (CATALOGUE[error.code]?.[0] ?? 70) : 1;
}

module.exports = { TrunklineError, HttpError, CATALOGUE, exitCode };
