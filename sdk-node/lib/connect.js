"use strict";
// Long-running connections: their options, and what a handler reaches of one.

/** Options of a connection, and their names for the core. */
const CONNECT = {
  url: "url",
  idle: "idle",
  fatal: "fatal",
  backoff: "backoff",
  stable: "stable",
  heartbeat: "heartbeat",
  greeting: "greeting",
  frames: "frames",
  subprotocols: "subprotocols",
  headers: "headers",
  credential: "credential",
  timeout: "timeout",
};

class Conn {
  /** @param {any} core @param {number} target */
  constructor(core, target) {
    Object.defineProperty(this, "core", { value: core });
    Object.defineProperty(this, "target", { value: target });
  }

  /** @param {unknown} frame */
  async send(frame) {
    const { core, target } = /** @type {any} */ (this);
    await core.call(target, "conn.send", { frame: frame === undefined ? null : frame });
  }

  /** @param {string} every @param {unknown} frame @param {{ expect?: unknown }} [options] */
  heartbeat(every, frame, options = {}) {
    const { core, target } = /** @type {any} */ (this);
    core.tell(target, "conn.heartbeat", { every, frame, expect: options.expect ?? null });
  }

  get cursor() {
    const { core, target } = /** @type {any} */ (this);
    return core.tell(target, "conn.cursor");
  }
}

module.exports = { CONNECT, Conn };
