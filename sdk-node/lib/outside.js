"use strict";
// The servers outside, as a test plays them.

/** What a plugin sent. */
class HttpSeen {
  /** @param {any} seen */
  constructor(seen) {
    const { body, body_base64: base64, ...rest } = seen;
    Object.assign(this, rest);
    this.body = body === undefined ? Buffer.from(base64, "base64") : Buffer.from(body);
  }

  json() {
    return JSON.parse(this.body.toString());
  }
}

class HttpRoute {
  /** @param {any} core @param {number} handle @param {number} route */
  constructor(core, handle, route) {
    Object.defineProperties(this, { core: { value: core }, handle: { value: handle }, route: { value: route } });
  }

  /** @param {string} name @param {Record<string, any>} [args] @returns {any} */
  tell(name, args) {
    const { core, handle, route } = /** @type {any} */ (this);
    return core.tell(handle, `http.${name}`, { ...args, route });
  }

  /** @param {number} status @param {Record<string, any>} [options] */
  reply(status, { json, body, headers } = {}) {
    const args = /** @type {Record<string, any>} */ ({ status, headers, json });
    if (typeof body === "string") args.body = body;
    else if (body !== undefined) args.body_base64 = Buffer.from(body).toString("base64");
    this.tell("reply", args);
    return this;
  }

  lose() {
    this.tell("lose");
    return this;
  }

  refuse() {
    this.tell("refuse");
    return this;
  }

  get requests() {
    return this.tell("requests").map((/** @type {any} */ seen) => new HttpSeen(seen));
  }
}

class HttpFake {
  /** @param {any} core @param {number} handle @param {string} server */
  constructor(core, handle, server) {
    Object.defineProperties(this, { core: { value: core }, handle: { value: handle }, server: { value: server } });
  }

  /** @param {string} method @param {string} path */
  on(method, path) {
    const { core, handle, server } = /** @type {any} */ (this);
    return new HttpRoute(core, handle, core.tell(handle, "http.on", { server, method, path }));
  }

  passThrough() {
    const { core, handle, server } = /** @type {any} */ (this);
    core.tell(handle, "http.pass_through", { server });
  }
}

module.exports = { HttpFake };
