"use strict";
// Requests of webhooks, as the daemon verified and stored them.

const { Reject } = require("./outcomes.js");

/** Options of a webhook, and their names for the core. */
const WEBHOOK = {
  name: "name",
  verify: "verify",
  secret: "secret",
  respond: "respond",
  tolerance: "tolerance",
  timeout: "timeout",
  signature: "signature",
  id: "id",
  session: "session",
  methods: "methods",
  bodyBytesMax: "body_bytes_max",
  contentTypes: "content_types",
  verifyToken: "verify_token",
  origins: "origins",
};

class WebhookRequest {
  /** @param {any} request */
  constructor(request) {
    this.id = request.id;
    this.name = request.name;
    this.method = request.method ?? "";
    this.path = request.path ?? "";
    this.query = request.query ?? "";
    this.headers = request.headers ?? {};
    Object.defineProperty(this, "request", { value: request });
  }

  /** @returns {Buffer} */
  get body() {
    const { body, body_base64: base64 } = /** @type {any} */ (this).request;
    return body === undefined ? Buffer.from(base64 ?? "", "base64") : Buffer.from(body);
  }

  /** @returns {string} */
  get text() {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.body);
    } catch {
      throw new Reject("the request's body: expected UTF-8", "invalid_payload");
    }
  }

  /** @returns {any} */
  json() {
    try {
      return JSON.parse(this.text);
    } catch (error) {
      if (error instanceof Reject) throw error;
      const { message } = /** @type {Error} */ (error);
      throw new Reject(`the request's body: expected JSON: ${message}`, "invalid_payload");
    }
  }
}

module.exports = { WEBHOOK, WebhookRequest };
