"use strict";
// While plugins run, what they say to `console` goes to the log of the instance that says it, with
// its level, and the event that was being handled.

const { format } = require("node:util");
const { storage } = require("./core.js");
const { tryWrite } = require("./log.js");

/** @type {["debug" | "log" | "info" | "warn" | "error", string][]} */
const LEVELS = [
  ["debug", "debug"],
  ["log", "info"],
  ["info", "info"],
  ["warn", "warning"],
  ["error", "error"],
];

/**
 * Bridges `console` until what it gives is called.
 * @param {() => any} fallback Gives the context for what is said outside of any handling.
 * @param {boolean} isGiven Whether the broker reads our output too: then nothing is said twice.
 * @returns {() => void}
 */
function bridge(fallback, isGiven) {
  const originals = LEVELS.map(([name]) => console[name]);
  let isWriting = false;
  LEVELS.forEach(([name, level], i) => {
    console[name] = (/** @type {any[]} */ ...args) => {
      let isTaken = false;
      if (!isWriting) {
        isWriting = true;
        try {
          const scope = storage.getStore() ?? fallback();
          isTaken = scope !== undefined && tryWrite(scope, level, format(...args), eventOf(scope));
        } catch {
          isTaken = false;
        } finally {
          isWriting = false;
        }
      }
      if (!isTaken || !isGiven) originals[i].apply(console, args);
    };
  });
  const bridged = LEVELS.map(([name]) => console[name]);
  return () => {
    LEVELS.forEach(([name], i) => {
      // Somebody else may have taken it over meanwhile.
      if (console[name] === bridged[i]) console[name] = originals[i];
    });
  };
}

/** @param {any} scope */
function eventOf(scope) {
  if (!scope.envelope) return {};
  const { id, traceparent } = scope.envelope;
  return traceparent === undefined ? { event_id: id } : { event_id: id, traceparent };
}

module.exports = { bridge, eventOf };
