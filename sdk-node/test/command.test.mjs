// The command that comes with the package: its program, its streams, its signals, its exit status.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const command = join(import.meta.dirname, "..", "node_modules", ".bin", "trunkline");
const { version } = createRequire(import.meta.url)("trunkline/package.json");

test("npm puts the command on the path, and it is of the package's version", () => {
  const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
  assert.equal(status, 0);
  assert.equal(stdout.trim(), `trunkline ${version}`);
});

test("the launcher ends with the program's status", () => {
  const wrong = spawnSync(command, ["no-such-command"], { encoding: "utf8" });
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /no-such-command/);
});

test("a signal to the launcher stops the daemon, and both end", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "tl-command-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, "trunkline.toml"), '[http]\nlisten = "127.0.0.1:0"\n');
  const daemon = spawn(command, ["up"], { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
  const said = [];
  const ready = new Promise((resolve, reject) => {
    for (const stream of [daemon.stdout, daemon.stderr]) {
      stream.on("data", (chunk) => {
        said.push(chunk);
        if (/ready/.test(Buffer.concat(said).toString())) resolve();
      });
    }
    daemon.on("exit", (code, signal) => reject(new Error(`${code ?? signal}: ${Buffer.concat(said)}`)));
  });
  await ready;
  // The program is a child of the launcher; what it holds goes when it goes.
  const children = readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, "utf8").trim().split(" ");
  assert.equal(children.length, 1);
  const ended = new Promise((resolve) => daemon.removeAllListeners("exit").on("exit", (code, signal) => resolve({ code, signal })));
  daemon.kill("SIGTERM");
  assert.deepEqual(await ended, { code: 0, signal: null });
  assert.throws(() => process.kill(Number(children[0]), 0), { code: "ESRCH" });
});
