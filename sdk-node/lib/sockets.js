"use strict";
// The servers of connections outside, as a test plays them.

/** @typedef {(name: string, args: any) => Promise<any>} Ask */

/** One connection of the plugin, from the other side. */
class SocketConn {
  /** @param {any} core @param {number} handle @param {Ask} ask @param {any} accepted */
  constructor(core, handle, ask, { conn, url, headers }) {
    const hidden = { core: { value: core }, handle: { value: handle }, ask: { value: ask }, conn: { value: conn } };
    Object.defineProperties(this, hidden);
    this.url = url;
    this.headers = headers;
  }

  /** @param {string} name @param {Record<string, any>} [args] */
  tell(name, args) {
    const { core, handle, conn } = /** @type {any} */ (this);
    core.tell(handle, `socket.${name}`, { ...args, conn });
  }

  /** @param {any} frame */
  send(frame) {
    this.tell("send", { frame });
  }

  /** @param {any} frame @param {{ within?: any }} [options] */
  async expect(frame, { within } = {}) {
    const { ask, conn } = /** @type {any} */ (this);
    if (typeof frame !== "function") return ask("socket.expect", { conn, frame, within });
    for (let after = 0, left = within; ; ) {
      const found = await ask("socket.next", { conn, after, within: left });
      after = found.number;
      left = { ms: found.left_ms };
      if (!frame(found.frame)) continue;
      this.tell("take", { number: after });
      return found.frame;
    }
  }

  /** @param {number} [code] @param {string} [reason] */
  close(code = 1000, reason = "") {
    this.tell("close", { code, reason });
  }

  stall() {
    this.tell("stall");
  }

  /** @param {{ within?: any }} [options] */
  expectClosed({ within } = {}) {
    const { ask, conn } = /** @type {any} */ (this);
    return ask("socket.expect_closed", { conn, within });
  }
}

class SocketFake {
  /** @param {any} core @param {number} handle @param {Ask} ask @param {string} url */
  constructor(core, handle, ask, url) {
    const server = core.tell(handle, "socket.serve", { url });
    const hidden = { core: { value: core }, handle: { value: handle }, ask: { value: ask }, server: { value: server } };
    Object.defineProperties(this, hidden);
  }

  /** @param {{ within?: any }} [options] */
  async accept({ within } = {}) {
    const { core, handle, ask, server } = /** @type {any} */ (this);
    return new SocketConn(core, handle, ask, await ask("socket.accept", { server, within }));
  }
}

module.exports = { SocketFake };
