"use strict";
// Lines of the user's code on their way to the instance's log.

const { inspect } = require("node:util");

class Log {
  /** @param {any} scope */
  constructor(scope) {
    Object.defineProperty(this, "scope", { value: scope });
  }

  /** @param {string} message @param {Record<string, any>} [fields] */
  debug(message, fields) {
    write(/** @type {any} */ (this).scope, "debug", message, fields);
  }

  /** @param {string} message @param {Record<string, any>} [fields] */
  info(message, fields) {
    write(/** @type {any} */ (this).scope, "info", message, fields);
  }

  /** @param {string} message @param {Record<string, any>} [fields] */
  warning(message, fields) {
    write(/** @type {any} */ (this).scope, "warning", message, fields);
  }

  /** @param {string} message @param {Record<string, any>} [fields] */
  error(message, fields) {
    write(/** @type {any} */ (this).scope, "error", message, fields);
  }
}

/**
 * Writes a line; where the core takes none, to stderr. Never throws: a log line is no reason to fail.
 * @param {any} scope
 * @param {string} level
 * @param {string} message
 * @param {Record<string, any>} [fields]
 */
function write(scope, level, message, fields = {}) {
  if (!tryWrite(scope, level, message, fields)) print(level, message, fields);
}

/**
 * @param {any} scope @param {string} level @param {string} message @param {Record<string, any>} fields
 * @returns {boolean}
 */
function tryWrite(scope, level, message, fields) {
  const line = { level, message: String(message), fields: plain(fields) };
  // The context of an event ends with its handler; what goes on speaks for the instance.
  const targets = scope.envelope ? [scope.target, scope.instanceHandle] : [scope.target];
  for (const target of targets) {
    try {
      return scope.bound.core.tell(target, "log", line) === true;
    } catch {
      continue;
    }
  }
  return false;
}

/** Makes fields that have a JSON form. @param {Record<string, any>} fields */
function plain(fields) {
  const made = /** @type {Record<string, any>} */ ({});
  for (const [key, value] of Object.entries(fields)) {
    if (value instanceof Error) made[key] = value.stack ?? String(value);
    else if (typeof value === "number" && !Number.isFinite(value)) made[key] = String(value);
    else if (typeof value === "function" || typeof value === "symbol") made[key] = String(value);
    else if (value !== undefined && !isJson(value)) made[key] = inspect(value, { depth: 4 });
    else made[key] = value;
  }
  return made;
}

/** @param {unknown} value */
function isJson(value) {
  if (typeof value !== "object" || value === null) return true;
  try {
    JSON.stringify(value);
    return !(value instanceof Map || value instanceof Set);
  } catch {
    return false;
  }
}

/** @param {string} level @param {string} message @param {Record<string, any>} fields */
function print(level, message, fields) {
  let line = `${level}: ${message}`;
  for (const [key, value] of Object.entries(fields ?? {})) {
    line += ` ${key}=${typeof value === "string" ? value : inspect(value, { breakLength: Infinity })}`;
  }
  process.stderr.write(`${line}\n`);
}

module.exports = { Log, write, tryWrite, print };
