"use strict";
// The envelope of an event, as it came or as a draft. Data keeps its wire names.

const { blobIds } = require("./blob.js");

const CHANNEL = /^plugin\.(?:inbound|outbound|delivery)\.([^.]+)(?:\.([^.]+))?$/;

/** What only matters until the event is published. */
const kDraft = Symbol("draft");

/**
 * Makes an event that was handed over.
 * @type {(envelope: any, topic: string, raw: () => Buffer) => Event}
 */
let handed;

class Event {
  /** Gives the payload's bytes while the event is handled. @type {(() => Buffer) | undefined} */
  #raw = undefined;

  static {
    handed = (envelope, topic, raw) => {
      const event = new Event(envelope);
      if (event.topic === "") event.topic = topic;
      event.#raw = raw;
      return event;
    };
  }

  /** @param {Record<string, any>} fields */
  constructor(fields) {
    this.id = fields.id ?? "";
    this.timestamp = fields.timestamp ?? "";
    this.topic = fields.topic ?? "";
    this.source = fields.source ?? "";
    this.session_id = fields.session_id ?? undefined;
    this.payload = fields.payload === undefined ? null : fields.payload;
    this.correlation_id = fields.correlation_id ?? undefined;
    this.causation_id = fields.causation_id ?? undefined;
    this.traceparent = fields.traceparent ?? undefined;
    this.expires_at = fields.expires_at ?? undefined;
    this.blobs = fields.blobs ?? [];
    this.metadata = fields.metadata ?? {};
  }

  /**
   * @param {string} topic
   * @param {string} source
   * @param {unknown} payload
   * @param {Record<string, any>} [options]
   */
  static new(topic, source, payload, options = {}) {
    return draft({ topic, source, payload }, options);
  }

  /**
   * @param {unknown} payload
   * @param {Record<string, any>} [options]
   */
  static inbound(payload, options = {}) {
    return draft({ payload }, options, true);
  }

  get session_key() {
    if (!this.session_id) return undefined;
    const channel = CHANNEL.exec(this.topic);
    if (!channel) return `/${this.session_id}`;
    return `${channel[1]}${channel[2] ? `.${channel[2]}` : ""}/${this.session_id}`;
  }

  get raw() {
    return this.#raw?.() ?? Buffer.from(JSON.stringify(this.payload));
  }
}

/**
 * @param {Record<string, any>} fields
 * @param {Record<string, any>} options
 * @param {boolean} [inbound]
 */
function draft(fields, options, inbound = false) {
  const { session, correlation, kind, expires, ephemeral, ...more } = options;
  const event = new Event({ ...more, ...fields, session_id: session, correlation_id: correlation });
  Object.defineProperty(event, kDraft, { value: { inbound, kind, expires, ephemeral }, enumerable: false });
  return event;
}

/**
 * Writes an event as the core takes drafts.
 * @param {any} event
 * @returns {Record<string, any>}
 */
function toDraft(event) {
  const { inbound, kind, expires, ephemeral } = event[kDraft] ?? {};
  const made = /** @type {Record<string, any>} */ ({ payload: event.payload === undefined ? null : event.payload });
  if (inbound) made.inbound = true;
  else made.topic = event.topic;
  if (kind) made.kind = kind;
  if (expires !== undefined) made.expires = expires;
  if (ephemeral) made.ephemeral = true;
  if (event.id) made.id = event.id;
  if (event.source) made.source = event.source;
  if (event.session_id) made.session = event.session_id;
  if (event.correlation_id) made.correlation = event.correlation_id;
  if (Object.keys(event.metadata).length > 0) made.metadata = event.metadata;
  if (event.blobs.length > 0) made.blobs = blobIds(event.blobs);
  return made;
}

/** @param {string} topic @returns {string | undefined} */
function kindOf(topic) {
  return CHANNEL.exec(topic)?.[1];
}

// Assigned by the class, which alone reaches its private fields.
module.exports = { Event, handed: /** @type {NonNullable<typeof handed>} */ (handed), toDraft, kindOf };
