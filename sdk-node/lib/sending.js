"use strict";
// A message that is durable with the broker, and will be sent.

const { Receipt } = require("./outcomes.js");

class Sending {
  /** @param {any} core @param {number} handle @param {string} id @param {any} published */
  constructor(core, handle, id, published) {
    this.id = id;
    this.published = published;
    Object.defineProperties(this, { core: { value: core }, handle: { value: handle } });
    released.register(this, { core, handle });
  }

  /** @param {string} state @param {{ timeout?: string, signal?: AbortSignal }} [options] */
  async until(state, options = {}) {
    const { core, handle } = /** @type {any} */ (this);
    const receipt = await core.call(handle, "until", { state, timeout: options.timeout }, { signal: options.signal });
    return new Receipt(receipt.state, {
      providerId: receipt.provider_id ?? undefined,
      error: receipt.error ?? undefined,
      part: receipt.part ?? undefined,
      degraded: receipt.degraded ?? undefined,
    });
  }
}

const released = new FinalizationRegistry((/** @type {any} */ { core, handle }) => {
  if (!core.isClosed) core.forget(handle);
});

module.exports = { Sending };
