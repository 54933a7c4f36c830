#!/usr/bin/env node
// The command `trunkline`: starts the program of this package with the same arguments and ends as it ends.
import { spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { isatty } from "node:tty";
import { fileURLToPath } from "node:url";

const platform = `${process.platform}-${process.arch}`;
const program = fileURLToPath(new URL(`./${platform}/trunkline`, import.meta.url));

/** Runs the program with `args` in place of this process, as far as Node can: its streams, its signals, its exit status. */
export function launch(args) {
  if (!existsSync(program)) {
    console.error(`error: expected linux-x64, found ${platform}, for which this package has no program`);
    console.error("\nhint: from a checkout `node sdk-node/build.mjs` builds it");
    process.exit(1);
  }
  const child = spawn(program, args, { stdio: "inherit" });
  // A terminal signals the whole group: the program has these already, and a second one would mean "at once".
  // Nothing here opens stdin: the program reads it, and Node would make it non-blocking for both.
  const ofTerminal = [0, 1, 2].some((fd) => isatty(fd));
  for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP"]) process.on(signal, () => ofTerminal || child.kill(signal));
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("error", (error) => {
    console.error(`error: ${program} could not be started: ${error.message}`);
    process.exit(126);
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

if (process.argv[1] !== undefined && isThisFile(process.argv[1])) launch(process.argv.slice(2));

function isThisFile(path) {
  try {
    return realpathSync(path) === fileURLToPath(import.meta.url);
  } catch {
    return false;
  }
}
