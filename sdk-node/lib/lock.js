"use strict";
// A named right across processes and hosts, renewed while it is held.

class Lock {
  /** @param {any} core @param {string} name @param {{ lock: number, token: number }} held */
  constructor(core, name, held) {
    this.name = name;
    this.token = held.token;
    const controller = new AbortController();
    Object.defineProperties(this, { core: { value: core }, handle: { value: held.lock }, controller: { value: controller } });
    core.call(held.lock, "lost", {}, { isHeld: false }).then(
      () => controller.abort(),
      // Released, or the core is gone: nobody is told that it was lost.
      () => {},
    );
  }

  get signal() {
    return /** @type {any} */ (this).controller.signal;
  }

  get lost() {
    return this.signal.aborted;
  }

  async release() {
    const { core, handle } = /** @type {any} */ (this);
    try {
      await core.call(handle, "release", {});
    } finally {
      core.forget(handle);
    }
  }

  async [Symbol.asyncDispose]() {
    if (!this.lost) await this.release();
  }
}

/**
 * @param {any} scope
 * @param {string} name
 * @param {{ ttl?: string, wait?: string, signal?: AbortSignal }} options
 * @param {((lock: Lock) => any) | undefined} use
 */
async function acquire(scope, name, { signal, ...options }, use) {
  const core = scope.bound.core;
  const lock = new Lock(core, name, await core.call(scope.target, "lock", { ...options, name }, { signal }));
  if (use === undefined) return lock;
  try {
    return await use(lock);
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}

module.exports = { acquire };
