// One implementation for both module systems, and a clear word where there is no binary.
const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const { existsSync, readFileSync } = require("node:fs");
const { dirname, join } = require("node:path");
const { test } = require("node:test");

test("require and import give the same classes", async () => {
  const required = require("trunkline");
  const imported = await import("trunkline");
  for (const name of Object.keys(required)) assert.equal(imported[name], required[name], name);
  assert.deepEqual(Object.keys(imported).filter((name) => name !== "default").sort(), Object.keys(required).sort());
  assert.equal((await import("trunkline/testing")).TestBroker, require("trunkline/testing").TestBroker);
});

test("the loader names a platform that has no binary", () => {
  for (const [platform, arch] of [["darwin", "arm64"], ["linux", "arm64"], ["win32", "x64"]]) {
    const code = `Object.defineProperty(process, "platform", { value: "${platform}" }); Object.defineProperty(process, "arch", { value: "${arch}" }); require("trunkline")`;
    const { status, stderr } = spawnSync(process.execPath, ["-e", code], { cwd: __dirname, encoding: "utf8" });
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`linux-x64-gnu; this is ${platform}-${arch}`));
    assert.match(stderr, /ERR_TRUNKLINE_PLATFORM/);
  }
});

test("a program that only loads it, or starts nothing, ends by itself", () => {
  const { status } = spawnSync(process.execPath, ["-e", 'const { Plugin } = require("trunkline"); new Plugin("x")'], { cwd: __dirname });
  assert.equal(status, 0);
});

// Proves W16, Node part: the codes, and what they mean, are those of the contract.
test("the catalogue is the contract's, in code and in types", (t) => {
  const contract = join(__dirname, "support", "error.rs");
  if (!existsSync(contract)) return t.skip("run by check.sh");
  const rows = [...readFileSync(contract, "utf8").matchAll(/^ +\w+ "([a-z_]+)" -\d+ \d+ (\d+) (true|false) "/gm)];
  const expected = Object.fromEntries(rows.map(([, code, exit, retryable]) => [code, [Number(exit), retryable === "true"]]));
  assert.ok(rows.length > 30);
  const lib = dirname(require.resolve("trunkline"));
  assert.deepEqual(require(join(lib, "errors.js")).CATALOGUE, expected);
  const types = readFileSync(join(lib, "..", "types", "data.d.ts"), "utf8");
  const union = /export type ErrorCode =([^;]+);/.exec(types)[1].match(/"([a-z_]+)"/g).map((code) => code.slice(1, -1));
  assert.deepEqual(union.sort(), Object.keys(expected).sort());
});
