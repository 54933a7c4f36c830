"use strict";
// The pull form of a subscription: an async iterator of deliveries, settled one by one.

const { handed } = require("./event.js");
const { Reject, Retry, retryOf, rejectOf } = require("./outcomes.js");

class Delivery {
  /** @param {any} core @param {any} given */
  constructor(core, given) {
    this.topic = given.topic;
    const raw = () => core.raw(given.delivery);
    this.event = handed(given.event, given.topic, raw);
    this.attempt = given.attempt;
    this.redelivered = given.redelivered;
    this.subscription = given.subscription;
    Object.defineProperties(this, { core: { value: core }, ticket: { value: given.delivery } });
  }

  get payload() {
    return this.event.payload;
  }

  ack() {
    settle(this, { ack: true });
  }

  /** @param {string} after @param {string} [why] @param {{ counted?: boolean }} [options] */
  nak(after, why, options) {
    settle(this, { nak: retryOf(new Retry(after, why, options)) });
  }

  /** @param {string} why @param {string} [code] */
  reject(why, code) {
    settle(this, { reject: rejectOf(new Reject(why, code)) });
  }
}

/** @param {any} delivery @param {any} what */
function settle(delivery, what) {
  delivery.core.tell(delivery.ticket, "settle", what);
}

class Subscription {
  /** @param {any} core @param {number} client @param {Record<string, any>} args */
  constructor(core, client, args) {
    const opened = core.call(client, "subscribe", args);
    // Who iterates is told; who only asks for `opened` as well.
    opened.catch(() => {});
    Object.defineProperties(this, { core: { value: core }, begun: { value: opened } });
    this.isClosed = false;
  }

  get opened() {
    return /** @type {any} */ (this).begun.then((/** @type {any} */ { name, created, cursor }) => ({ name, created, cursor }));
  }

  /** @param {string} name @param {any} args */
  async ask(name, args) {
    const { core, begun } = /** @type {any} */ (this);
    return core.call((await begun).subscription, name, args);
  }

  async next() {
    if (this.isClosed) return { done: true, value: undefined };
    const given = await this.ask("next", {});
    if (given === null) return { done: true, value: undefined };
    return { done: false, value: new Delivery(/** @type {any} */ (this).core, given) };
  }

  async return() {
    await this.close();
    return { done: true, value: undefined };
  }

  /** @param {any} to */
  seek(to) {
    return this.ask("seek", { to });
  }

  async delete() {
    await this.ask("delete", {});
    await this.close();
  }

  async close() {
    if (this.isClosed) return;
    this.isClosed = true;
    const { core, begun } = /** @type {any} */ (this);
    const opened = await begun.catch(() => undefined);
    if (opened) core.forget(opened.subscription);
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

module.exports = { Subscription, Delivery };
