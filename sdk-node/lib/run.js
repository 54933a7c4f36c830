"use strict";
// Running plugins and clients: signals, the exit code, and what nobody caught.

const { fstatSync, realpathSync } = require("node:fs");
const { fileURLToPath } = require("node:url");
const { InstanceContext } = require("./scope.js");
const { describe } = require("./locate.js");
const { exitCode, TrunklineError } = require("./errors.js");
const { bridge, eventOf } = require("./console.js");
const { print, tryWrite } = require("./log.js");
const { core, startedCore, storage } = require("./core.js");

/** How long a program that was told to end may take with what it still has open. */
const LINGER_MS = 2000;

/** @param {...any} runnables */
async function run(...runnables) {
  try {
    await served(runnables);
    process.exitCode ??= 0;
  } catch (error) {
    process.exitCode = exitCode(error);
    const text = error instanceof TrunklineError ? error.message : /** @type {any} */ (error)?.stack;
    process.stderr.write(`error: ${error instanceof TrunklineError ? `${error.code}: ` : ""}${text ?? error}\n`);
  }
  // What the user left open must not keep a plugin that has stopped.
  const timer = setTimeout(() => {
    const open = process.getActiveResourcesInfo();
    process.stderr.write(`trunkline: the plugin has stopped, and is ended with what it left open: ${open.join(", ")}\n`);
    process.exit();
  }, LINGER_MS);
  timer.unref();
}

/** Serves with signals, console and what nobody catches in our hands. @param {any[]} runnables */
async function served(runnables) {
  const given = isGiven();
  const running = serving(runnables);
  const scope = () => running.scopes[0];
  const restore = bridge(scope, given);
  const stop = (/** @type {string} */ signal) => {
    forgetSignals();
    running.stop(signal);
  };
  const forgetSignals = () => ["SIGINT", "SIGTERM"].forEach((signal) => process.off(signal, stop));
  ["SIGINT", "SIGTERM"].forEach((signal) => process.on(signal, stop));
  const uncaught = (/** @type {any} */ error, /** @type {string} */ origin) => report(error, origin, scope());
  process.on("uncaughtExceptionMonitor", uncaught);
  try {
    await running.ended;
  } finally {
    forgetSignals();
    restore();
    process.off("uncaughtExceptionMonitor", uncaught);
  }
}

/** @param {...any} runnables */
async function serve(...runnables) {
  await serving(runnables).ended;
}

/** Begins to serve; gives how to stop it, and when it has. @param {any[]} runnables */
function serving(runnables) {
  const on = core();
  /** @type {any[]} */
  const scopes = [];
  on.onLog = (level, _target, message, fields) => {
    const text = Object.entries(fields).reduce((text, [key, value]) => `${text} ${key}=${value}`, message);
    const isTaken = scopes.length > 0 && tryWrite(scopes[0], level, text, {});
    if (!isTaken || !isGiven()) print(level, message, fields);
  };
  /** @type {((reason: string) => void)[]} */
  const stops = [];
  const one = async (/** @type {any} */ what) => {
    // A plugin has `connect` too: it declares a connection.
    if (typeof what.linked === "function") return client(what, scopes, stops);
    const bound = what.bind(on);
    scopes.push(new InstanceContext(bound));
    let isOver = false;
    stops.push((reason) => void (isOver || on.tell(bound.handle, "stop", { reason })));
    try {
      await on.call(bound.handle, "serve", {});
    } finally {
      isOver = true;
      scopes.splice(scopes.findIndex((scope) => scope.bound === bound), 1);
      bound.detach();
    }
  };
  const stop = (/** @type {string} */ reason) => stops.forEach((each) => each(reason));
  const all = Promise.allSettled(
    runnables.map(async (what) => {
      try {
        await one(what);
      } catch (error) {
        // One that cannot run takes the others along: a half-running program helps nobody.
        stop("another one has failed");
        throw error;
      }
    }),
  );
  const ended = all.then((results) => {
    for (const result of results) if (result.status === "rejected") throw result.reason;
  });
  return { scopes, stop, ended };
}

/** @param {any} what @param {any[]} scopes @param {((reason: string) => void)[]} stops */
async function client(what, scopes, stops) {
  let stop = () => {};
  const stopped = new Promise((resolve) => (stop = () => resolve(undefined)));
  stops.push(stop);
  await what.connect();
  scopes.push(what.linked());
  try {
    await Promise.race([stopped, what.ended()]);
  } finally {
    await what.close();
  }
}

/**
 * Tells the instance's log what nobody caught, before Node ends the program for it.
 * @param {any} error @param {string} origin @param {any} fallback
 */
function report(error, origin, fallback) {
  const scope = storage.getStore() ?? fallback;
  if (scope === undefined) return;
  const { kind, message, location } = describe(error);
  const what = origin === "unhandledRejection" ? "a rejection that nobody handles" : "an exception that nobody catches";
  const fields = { ...eventOf(scope), ...(location ? { location } : {}) };
  tryWrite(scope, "error", `${what}: ${location ? `${location}: ` : ""}${kind}: ${message}`, fields);
  // Nothing else runs after this, unless the program has a handler of its own.
  const on = startedCore();
  on?.flush();
  if (process.listenerCount("uncaughtException") === 0) on?.native.close(100);
}

/** Says whether the broker started this program: then it reads our output, too. */
function isGiven() {
  return process.env.TRUNKLINE_LINK_FD !== undefined || isPiped;
}

/** Looked at once: a link on stdio is taken over, and stdio is something else then. */
const isPiped = (() => {
  try {
    return [0, 1].every((fd) => {
      const stat = fstatSync(fd);
      return stat.isFIFO() || stat.isSocket();
    });
  } catch {
    return false;
  }
})();

/** @param {any} meta */
function isMain(meta) {
  if (typeof require !== "undefined" && meta === require.main) return true;
  const path = process.argv[1];
  const own = typeof meta?.url === "string" ? fileURLToPath(meta.url) : meta?.filename;
  if (!path || !own) return false;
  try {
    return realpathSync(own) === realpathSync(require.resolve(path));
  } catch {
    return false;
  }
}

module.exports = { run, serve, served, isMain, isPiped };
