"use strict";
// Timers: the instance is told that it is time, by an event that is handled like every other one.

const { TrunklineError } = require("./errors.js");

const SCHEDULE = ["after", "every", "at", "cron", "tz", "jitter", "misfire", "data", "session", "keep"];

/**
 * Writes a schedule; an option that is none is refused.
 * @param {Record<string, any>} options
 * @param {string[]} [others] Options that are somebody else's.
 */
function scheduleOf(options, others = []) {
  const made = /** @type {Record<string, any>} */ ({});
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || others.includes(key)) continue;
    if (!SCHEDULE.includes(key)) {
      const known = SCHEDULE.concat(others).join(", ");
      throw new TrunklineError("invalid_arguments", `expected one of the options ${known}, found ${JSON.stringify(key)}`);
    }
    made[key] = key === "at" && value instanceof Date ? value.toISOString() : value;
  }
  return made;
}

class Timers {
  /** @param {any} core @param {number} target */
  constructor(core, target) {
    Object.defineProperties(this, { core: { value: core }, target: { value: target } });
  }

  /** @param {string} name @param {Record<string, any>} args */
  ask(name, args) {
    const { core, target } = /** @type {any} */ (this);
    return core.call(target, `timer.${name}`, args);
  }

  /** @param {string} name @param {Record<string, any>} schedule */
  async set(name, schedule) {
    const { due_at: dueAt, kept } = await this.ask("set", { name, schedule: scheduleOf(schedule ?? {}) });
    return { dueAt: dueAt ?? undefined, kept };
  }

  /** @param {string} name */
  cancel(name) {
    return this.ask("cancel", { name });
  }

  /** @param {string} [prefix] */
  async list(prefix = "") {
    const found = await this.ask("list", { prefix });
    return found.map((/** @type {any} */ { set, due_at: dueAt, running }) => {
      return { name: set.name, dueAt, running: running === true, set };
    });
  }
}

/** @param {any} fired */
function timerEvent({ name, due_at: dueAt, data, missed }) {
  return { name, dueAt, data, missed: missed ?? 0 };
}

module.exports = { Timers, scheduleOf, timerEvent };
