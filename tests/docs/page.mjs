// Does what a page tells, as it is written: `node tests/docs/page.mjs docs/quick-start-python.md [--home DIR] [--without "cargo install"]`.
//
// In an empty directory, in one shell, from the first line of the page to the last:
//
// - a line `$ command` of a `console` block is run; it has to end with 0. The lines below it are its output: the same lines,
//   where `…` stands for any text (alone on a line: for any lines), numbers for any number, twelve digits of a hash for any
//   hash, and what begins with `/srv` for any path. Where none are shown, none are compared.
// - `trunkline up` and `trunkline dev` go on while the rest of the page is done. The lines below are waited for, in any order; one
//   that is no output (see OUTPUT) is typed. Before another one, and at the end of the page, it is interrupted unless
//   `/quit` was typed, and has to end with 0.
// - the text of a block whose paragraph before ends with "as `name`:" is written to that file.
//
// With `--without`, commands that begin so are left out: what they would bring is there already. `--home` names the directory, which
// is kept.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";

// Only what hangs takes as long: a scaffold in Rust is compiled with all that it needs.
const LIMIT_MS = 900_000;
const OUTPUT = /^(broker|http|plugin|ready|\s|<|…|\S+ \|)/;
const [file, ...rest] = process.argv.slice(2);
const without = rest.flatMap((word, at) => (rest[at - 1] === "--without" ? [word] : []));
const kept = rest.find((_, at) => rest[at - 1] === "--home");
const home = kept ?? mkdtempSync(join(tmpdir(), "tl-page-"));
mkdirSync(home, { recursive: true });
// Whatever else runs on this machine.
process.env.TRUNKLINE_HTTP__LISTEN ??= "127.0.0.1:0";

/** Gives the blocks of a page: language, text, and the file that it is written to. */
function blocks(text) {
  const found = [];
  for (const match of text.matchAll(/^```(\w*)[^\n]*\n(.*?)^```$/gms)) {
    const before = text.slice(0, match.index).trimEnd().split("\n\n").at(-1);
    const [, name] = /\bas `([^`]+)`:$/.exec(before) ?? [];
    found.push({ language: match[1], text: match[2], name });
  }
  return found;
}

/** Gives the commands of a console block, each with the lines below it. */
function commands(text) {
  const found = [];
  for (const line of text.trimEnd().split("\n")) {
    if (line.startsWith("$ ")) found.push({ command: line.slice(2), lines: [] });
    else found.at(-1).lines.push(line);
  }
  return found;
}

/** Gives what a line of the page stands for. */
function pattern(line) {
  const escaped = line.replace(/\/srv\S*|…|\s+|\b[0-9a-f]{12}\b|\d+(\.\d+)?|[\\^$.*+?()[\]{}|]/g, (part) => {
    if (part.startsWith("/srv")) return "\\S+";
    if (part === "…") return ".*";
    if (/^\s/.test(part)) return "\\s+";
    if (part.length === 12) return "[0-9a-f]{12}";
    return /^\d/.test(part) ? "\\d+(\\.\\d+)?" : `\\${part}`;
  });
  return new RegExp(`^${escaped}$`);
}

/** Says whether these lines are those; a lone `…` is any number of lines. */
function same(wanted, found) {
  if (wanted.length === 0) return found.length === 0;
  const [first, ...others] = wanted;
  if (first.trim() === "…") return same(others, found) || (found.length > 0 && same(wanted, found.slice(1)));
  return found.length > 0 && pattern(first).test(found[0].trimEnd()) && same(others, found.slice(1));
}

const shell = spawn("bash", ["--noprofile", "--norc"], { cwd: home, stdio: ["pipe", "pipe", "inherit"] });
let heard = "";
let wake = () => {};
shell.stdout.setEncoding("utf8").on("data", (text) => ((heard += text), wake()));

/** Runs a command in the shell, and gives its status and what it printed. */
async function run(command) {
  heard = "";
  shell.stdin.write(`{ ${command}\n} </dev/null 2>&1; printf '\\n\\001%s\\n' "$?"\n`);
  for (;;) {
    const end = /^\x01(\d+)$/m.exec(heard);
    if (end !== null) return { status: Number(end[1]), lines: heard.slice(0, end.index).trimEnd().split("\n") };
    await new Promise((resume) => (wake = resume));
  }
}

const daemons = [];

/** Starts what goes on, says to it what is typed, and waits for each line that is shown. */
async function begin(command, lines) {
  // One at a time in a directory.
  for (const each of daemons.splice(0)) await end(each);
  const { lines: [cwd] } = await run("pwd");
  const { lines: [variables] } = await run("env -0 | base64 -w0");
  const env = Object.fromEntries(
    Buffer.from(variables, "base64").toString().split("\0").filter(Boolean).map((each) => {
      const at = each.indexOf("=");
      return [each.slice(0, at), each.slice(at + 1)];
    }),
  );
  const child = spawn("bash", ["-c", `exec ${command}`], { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  const daemon = { command, child, lines: [], wake: () => {} };
  daemon.ended = new Promise((resume) => child.on("close", (code, signal) => ((daemon.status = code ?? signal), daemon.wake(), resume())));
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream.setEncoding("utf8").on("data", (text) => {
      const whole = (rest + text).split("\n");
      rest = whole.pop();
      daemon.lines.push(...whole);
      daemon.wake();
    });
  }
  daemons.push(daemon);
  await goOn(daemon, lines);
}

async function goOn(daemon, lines) {
  let from = 0;
  for (const line of lines) {
    if (!OUTPUT.test(line)) {
      from = daemon.lines.length;
      daemon.child.stdin.write(`${line}\n`);
      daemon.ends ||= line === "/quit";
      continue;
    }
    const wanted = pattern(line);
    while (!daemon.lines.slice(from).some((each) => wanted.test(each.trimEnd()))) {
      assert.equal(daemon.status, undefined, `${daemon.command} ended\n${daemon.lines.join("\n")}`);
      now = { what: `${daemon.command}: ${line}`, heard: () => daemon.lines.join("\n") };
      await new Promise((resume) => (daemon.wake = resume));
    }
  }
}

/** Gives the program itself: between it and its terminal may be npx, a shell and a launcher. */
function program(pid) {
  if (/(^|\/)trunkline$/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0])) return pid;
  const below = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return below.map(program).find((found) => found !== undefined);
}

function signal(daemon, name) {
  if (daemon.status === undefined) process.kill(program(daemon.child.pid) ?? daemon.child.pid, name);
}

async function end(daemon) {
  now = { what: `the end of ${daemon.command}`, heard: () => daemon.lines.join("\n") };
  if (!daemon.ends) signal(daemon, "SIGINT");
  await daemon.ended;
  assert.equal(daemon.status, 0, `${daemon.command}\n${daemon.lines.join("\n")}`);
}

let now = { what: "", heard: () => "" };
function giveUp() {
  console.error(`error: ${basename(file)} still waits for ${now.what}\n${now.heard()}`);
  leave(1);
}
const timer = setTimeout(giveUp, LIMIT_MS);
process.on("SIGTERM", giveUp);

function leave(status) {
  for (const daemon of daemons) signal(daemon, "SIGTERM");
  shell.kill("SIGKILL");
  if (kept === undefined) rmSync(home, { recursive: true, force: true });
  process.exit(status);
}

let done = 0;
try {
  for (const block of blocks(readFileSync(file, "utf8"))) {
    if (block.name !== undefined) {
      const { lines: [cwd] } = await run("pwd");
      const path = resolve(cwd, block.name);
      mkdirSync(dirname(path), { recursive: true });
      // An editor writes a file anew; who watches it may see it at any moment.
      writeFileSync(path, block.text);
      continue;
    }
    if (block.language !== "console") continue;
    for (const { command, lines } of commands(block.text)) {
      if (without.some((prefix) => command.startsWith(prefix))) continue;
      now = { what: command, heard: () => heard };
      if (/(^|\s)trunkline (up|dev)\b/.test(command)) {
        // What is typed in a later block goes to the one that runs.
        const running = daemons.find((each) => each.command === command && each.status === undefined);
        await (running === undefined ? begin(command, lines) : goOn(running, lines));
      } else {
        const ran = await run(command);
        const text = ran.lines.join("\n");
        assert.equal(ran.status, 0, `${command}\n${text}`);
        assert.ok(lines.length === 0 || same(lines, ran.lines), `${command}\nexpected\n${lines.join("\n")}\nfound\n${text}`);
      }
      done += 1;
    }
  }
  for (const daemon of daemons) await end(daemon);
  assert.ok(done > 0, "the page tells nothing to do");
} catch (error) {
  console.error(`error: ${file}: ${error.message}`);
  leave(1);
}
clearTimeout(timer);
console.log(`${basename(file)}: ${done} commands did what the page says`);
leave(0);
