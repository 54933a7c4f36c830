// Builds the native half and the programs and puts them where the package expects them: `node sdk-node/build.mjs`.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const cargo = (...args) => execFileSync("cargo", args, { cwd: here, stdio: ["ignore", "pipe", "inherit"] });
const began = Date.now();
console.error("building the library and the daemon: minutes the first time, seconds after that");
cargo("build", "--release", "--locked", "-p", "trunkline-node");
cargo("programs");
const { target_directory: target } = JSON.parse(
  execFileSync("cargo", ["metadata", "--format-version", "1", "--no-deps", "--locked"], { cwd: here, maxBuffer: 1 << 26 }),
);
const release = join(target, "release");

// Never written in place: a process that has it open would crash.
function put(to, write) {
  write(`${to}.new`);
  renameSync(`${to}.new`, to);
}

const library = join(here, "trunkline.linux-x64-gnu.node");
put(library, (to) => copyFileSync(join(release, "libtrunkline_node.so"), to));

const programs = join(here, "bin", "linux-x64");
mkdirSync(programs, { recursive: true });
for (const name of ["trunkline", "trunkline-pollers"]) {
  put(join(programs, name), (to) => {
    try {
      execFileSync("strip", ["-o", to, join(release, name)]);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
      copyFileSync(join(release, name), to); // with its symbols: larger, not different
    }
    chmodSync(to, 0o755);
  });
}
console.error(`built in ${Math.round((Date.now() - began) / 1000)} s`);
console.log(library);
