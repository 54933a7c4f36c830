"use strict";
// Where in the user's own code something was thrown.

const path = require("node:path");
const { fileURLToPath } = require("node:url");

const OWN = __dirname + path.sep;
const FRAME = /^\s*at (?:.*?\()?(?:async )?((?:file:\/\/)?\/?[^()]+?):(\d+):\d+\)?$/;

/**
 * Gives `file:line` of the innermost frame that is neither Node's nor ours nor a dependency's.
 * @param {any} error
 * @returns {string | undefined}
 */
function locate(error) {
  const stack = typeof error?.stack === "string" ? error.stack : "";
  let fallback;
  for (const line of stack.split("\n")) {
    const found = FRAME.exec(line);
    if (!found || found[1].startsWith("node:")) continue;
    let file = found[1];
    if (file.startsWith("file:")) {
      try {
        file = fileURLToPath(file);
      } catch {
        continue;
      }
    }
    if (file.startsWith(OWN) || !path.isAbsolute(file)) continue;
    const place = `${shorten(file)}:${found[2]}`;
    if (!file.includes(`${path.sep}node_modules${path.sep}`)) return place;
    fallback ??= place;
  }
  return fallback;
}

/** @param {string} file */
function shorten(file) {
  const relative = path.relative(process.cwd(), file);
  return relative && !relative.startsWith("..") ? relative : file;
}

/**
 * Describes anything thrown, as the core takes it.
 * @param {any} error
 * @returns {{ kind: string, message: string, location?: string, traceback?: string }}
 */
function describe(error) {
  if (!(error instanceof Error)) {
    const text = typeof error === "string" ? error : safeText(error);
    return { kind: error === null ? "null" : typeof error, message: text };
  }
  let message = error.message;
  const seen = new Set([error]);
  for (let cause = error.cause; cause instanceof Error && !seen.has(cause); cause = cause.cause) {
    seen.add(cause);
    if (!message.includes(cause.message)) message += `: ${cause.message}`;
  }
  const kind = error.constructor?.name || error.name || "Error";
  return { kind, message, location: locate(error), traceback: typeof error.stack === "string" ? error.stack : undefined };
}

/** @param {unknown} value */
function safeText(value) {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

module.exports = { locate, describe };
