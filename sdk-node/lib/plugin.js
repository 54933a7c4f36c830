"use strict";
// A plugin: a plain object with handlers and hooks on it.

const { Bound } = require("./bound.js");
const { TrunklineError } = require("./errors.js");
const { scheduleOf, timerEvent } = require("./timer.js");
const { ASSEMBLE, partsOf } = require("./part.js");
const { toolEntry, toolSpec } = require("./tool.js");
const { WEBHOOK, WebhookRequest } = require("./webhook.js");
const { CONNECT } = require("./connect.js");
const { LIST, POLL, feedItem } = require("./poll.js");

/** Options of registrations, and their names for the core. */
const ON = { name: "name", group: "group", start: "start", credit: "credit", retry: "retry", timeout: "timeout", settle: "settle" };
const OUTBOUND = {
  timeout: "timeout",
  settle: "settle",
  rate: "rate",
  ratePerTarget: "rate_per_target",
  idempotent: "idempotent",
  reconcile: "reconcile",
};

class Plugin {
  /** @param {string} id @param {{ version?: string, credit?: any, config?: any, manifest?: string }} [options] */
  constructor(id, options = {}) {
    this.id = id;
    this.options = options;
    this.schema = options.config;
    /** @type {any[]} */
    this.onHandlers = [];
    /** @type {any[]} */
    this.outboundHandlers = [];
    /** @type {any[]} */
    this.tools = [];
    /** What patterns add, by the core's name of the section. @type {Map<string, any[]>} */
    this.patterns = new Map();
    /** Functions that say where to connect to, by kind. @type {Map<string, (ctx: any) => any>} */
    this.urls = new Map();
    /** @type {((payload: any, ctx: any) => any) | undefined} */
    this.rest = undefined;
    /** @type {Map<string, any>} */
    this.hooks = new Map();
    /** @type {[any, any][]} */
    this.translators = [];
  }

  get onlyKind() {
    const registered = [this.outboundHandlers, ...this.patterns.values()].flat();
    const kinds = new Set(registered.map(({ kind }) => kind).filter((kind) => kind !== undefined));
    return kinds.size === 1 ? [...kinds][0] : undefined;
  }

  /** @param {string | string[]} filter @param {any} options @param {any} [handler] */
  on(filter, options, handler) {
    const entry = registration(filter, options, handler);
    this.onHandlers.push(entry);
    return entry.handler;
  }

  /** @param {string} kind @param {any} options @param {any} [handler] */
  outbound(kind, options, handler) {
    const entry = registration(kind, options, handler);
    this.outboundHandlers.push({ ...entry, kind });
    return entry.handler;
  }

  /** @param {string} kind @param {any} options @param {any} [handler] */
  webhook(kind, options, handler) {
    return this.pattern("webhooks", registration(kind, options, handler), WEBHOOK, (request) => new WebhookRequest(request));
  }

  /** @param {string} kind @param {any} options @param {any} handler */
  connect(kind, options, handler) {
    const { url, ...rest } = options;
    if (typeof url === "function") this.urls.set(kind, url);
    return this.pattern("connects", registration(kind, typeof url === "function" ? rest : options, handler), CONNECT);
  }

  /** @param {string} kind @param {any} options @param {any} handler */
  poll(kind, options, handler) {
    const entry = registration(kind, options, handler);
    const { at, json, feed } = entry.options;
    const made = { ...entry.options, at: at instanceof Date ? at.toISOString() : at, json: json && named(json, LIST) };
    return this.pattern("polls", { ...entry, options: made }, POLL, feed === undefined ? undefined : feedItem);
  }

  /** @param {string} name @param {any} options @param {any} [handler] */
  timer(name, options, handler) {
    const entry = registration(name, options, handler);
    const { timeout } = entry.options;
    const schedule = scheduleOf(entry.options, ["timeout"]);
    const made = { name, timeout, schedule: Object.keys(schedule).length > 0 ? schedule : undefined };
    const registered = this.patterns.get("timers") ?? [];
    this.patterns.set("timers", [...registered, { kind: undefined, options: made, handler: entry.handler, read: timerEvent }]);
    return entry.handler;
  }

  /** @param {string} kind @param {any} options @param {any} [handler] */
  assemble(kind, options, handler) {
    return this.pattern("assemblers", registration(kind, options, handler), ASSEMBLE, partsOf);
  }

  /**
   * @param {string} section @param {any} entry @param {Record<string, string>} names
   * @param {(payload: any) => any} [read] What becomes of the payload before the handler gets it.
   */
  pattern(section, { filters: [kind], options, handler }, names, read) {
    const registered = this.patterns.get(section) ?? [];
    this.patterns.set(section, [...registered, { kind, options: named(options, names), handler, read }]);
    return handler;
  }

  /** @param {string} name @param {any} options @param {any} handler */
  tool(name, options, handler) {
    const entry = toolEntry(name, options, handler);
    this.tools.push(entry);
    return entry.handler;
  }

  /** @param {any} hook */
  onStart(hook) {
    return this.hook("on_start", hook);
  }

  /** @param {any} hook */
  onStop(hook) {
    return this.hook("on_stop", hook);
  }

  /** @param {any} hook */
  onConfig(hook) {
    return this.hook("on_config", hook);
  }

  /** @param {any} hook */
  onPause(hook) {
    return this.hook("on_pause", hook);
  }

  /** @param {any} hook */
  onResume(hook) {
    return this.hook("on_resume", hook);
  }

  /** @param {any} type @param {any} translate */
  onError(type, translate) {
    this.translators.push([type, translate]);
    return translate;
  }

  /** @param {string} name @param {any} hook */
  hook(name, hook) {
    if (typeof hook !== "function") throw new TypeError(`expected a function, found ${typeof hook}`);
    if (this.hooks.has(name)) throw new TypeError(`${name} is there already`);
    this.hooks.set(name, hook);
    return hook;
  }

  /**
   * Declares it to the core.
   * @param {any} core
   * @returns {Bound}
   */
  bind(core) {
    const bound = new Bound(core, this);
    const { version, credit, manifest } = this.options;
    const spec = /** @type {Record<string, any>} */ ({ version, credit });
    if (manifest === undefined) spec.id = this.id;
    else spec.manifest = manifest;
    spec.on = this.onHandlers.map((entry) => onSpec(bound, entry));
    spec.outbound = this.outboundHandlers.map(({ kind, options, handler }) => ({
      handler: bound.number(handler, options.payload),
      kind,
      ...named(options, OUTBOUND),
      ...(options.reconcile === undefined ? {} : { reconcile: bound.number(options.reconcile, options.payload) }),
    }));
    spec.tools = this.tools.map((entry) => toolSpec(bound, entry));
    for (const [section, registered] of this.patterns) {
      spec[section] = registered.map(({ kind, options, handler, read }) => ({
        handler: bound.number(read ? (/** @type {any} */ payload, /** @type {any} */ ctx) => handler(read(payload), ctx) : handler, undefined),
        kind,
        ...options,
      }));
    }
    if (this.rest) spec.rest = bound.number(this.rest, undefined);
    // The start and the stop are always heard: they begin and end what contexts say of the instance.
    spec.hooks = [...new Set(["on_start", "on_stop", ...this.hooks.keys()])];
    return bound.attach(core.tell(0, "plugin", spec));
  }
}

/** @param {any} filter @param {any} options @param {any} handler */
function registration(filter, options, handler) {
  if (typeof options === "function") [options, handler] = [{}, options];
  if (typeof handler !== "function") {
    throw new TypeError(`expected a handler for ${filter}, found ${handler === undefined ? "nothing" : typeof handler}`);
  }
  return { filters: [filter].flat(), options: options ?? {}, handler };
}

/** @param {Bound} bound @param {any} entry */
function onSpec(bound, { filters, options, handler }) {
  return {
    handler: bound.number(handler, options.payload),
    filters,
    name: nameOf(handler),
    ...named(options, ON),
  };
}

/** Makes a subscription's name of a function's, as it would be written elsewhere. @param {Function} handler */
function nameOf(handler) {
  const name = handler.name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();
  return /^[a-z0-9][a-z0-9_-]{0,63}$/.test(name) ? name : undefined;
}

/**
 * Takes the options that there are; another one is refused.
 * @param {Record<string, any>} options @param {Record<string, string>} names
 */
function named(options, names) {
  const made = /** @type {Record<string, any>} */ ({});
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || key === "payload") continue;
    if (!(key in names)) {
      const known = Object.keys(names).concat("payload").join(", ");
      throw new TrunklineError("invalid_arguments", `expected one of the options ${known}, found ${JSON.stringify(key)}`);
    }
    made[names[key]] = value;
  }
  return made;
}

module.exports = { Plugin, registration, onSpec };
