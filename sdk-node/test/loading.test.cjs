// One implementation for both module systems, and a clear word where there is no binary.
const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
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
