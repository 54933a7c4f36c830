// Builds the native half and puts it where the package expects it: `node sdk-node/build.mjs`.
import { execFileSync } from "node:child_process";
import { copyFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const cargo = (...args) => execFileSync("cargo", args, { cwd: here, stdio: ["ignore", "pipe", "inherit"] });
cargo("build", "--release", "--locked", "-p", "trunkline-node");
const { target_directory: target } = JSON.parse(
  execFileSync("cargo", ["metadata", "--format-version", "1", "--no-deps", "--locked"], { cwd: here, maxBuffer: 1 << 26 }),
);
const to = join(here, "trunkline.linux-x64-gnu.node");
// Never written in place: a process that has it open would crash.
copyFileSync(join(target, "release", "libtrunkline_node.so"), `${to}.new`);
renameSync(`${to}.new`, to);
console.log(to);
