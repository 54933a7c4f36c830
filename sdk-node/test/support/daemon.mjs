// A real daemon in a directory of its own, with plugins that are written there.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Client } from "trunkline";

const BIN = process.env.TRUNKLINE_BIN;
// Inside the project, so that the plugins find the installed package.
const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** What a plugin's directory holds when nothing else is said. */
export const manifest = (id, more = "") => `[plugin]
id = "${id}"
version = "0.1.0"
command = ["node", "main.mjs"]

[[channels]]
kind = "${id}"
${more}`;

export class Daemon {
  /** `late` names plugins that are not ready before the test has done something.
   * @param {any} t @param {Record<string, string | { code: string, toml?: string, manifest?: string }>} plugins */
  static async start(t, plugins, { config = "", late = [] } = {}) {
    const daemon = new Daemon();
    daemon.directory = mkdtempSync(join(ROOT, "d-"));
    let toml = `plugin_dirs = ["plugins"]\n${config}\n`;
    for (const [id, given] of Object.entries(plugins)) {
      const { code, toml: more = "", manifest: text = manifest(id, more), keys = "" } = typeof given === "string" ? { code: given } : given;
      mkdirSync(join(daemon.directory, "plugins", id), { recursive: true });
      writeFileSync(join(daemon.directory, "plugins", id, "plugin.toml"), text);
      writeFileSync(join(daemon.directory, "plugins", id, "main.mjs"), code);
      toml += `[[plugins.${id}]]\n${keys}\n`;
    }
    writeFileSync(join(daemon.directory, "trunkline.toml"), toml);
    t.after(() => daemon.stop().finally(() => rmSync(daemon.directory, { recursive: true, force: true })));
    await daemon.up(Object.keys(plugins).filter((id) => !late.includes(id) && !plugins[id].keys?.includes("enabled = false")));
    return daemon;
  }

  get socket() {
    return join(this.directory, ".trunkline", "trunkline.sock");
  }

  async up(ready) {
    this.lines = [];
    this.watchers = new Set();
    const child = spawn(BIN, ["up", "--set", "http.listen=127.0.0.1:0"], { cwd: this.directory, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    this.over = new Promise((resolve) => child.once("exit", resolve));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        for (const watcher of [...this.watchers]) watcher();
      });
    }
    await this.said(/^ready$/);
    for (const id of ready) await this.said(new RegExp(`plugin +${id}/\\S+ +ready`));
  }

  /** Waits until the daemon says something. */
  said(pattern, from = 0) {
    return this.when(() => this.lines.slice(from).find((line) => pattern.test(line)), `${pattern}`);
  }

  when(look, what) {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = look();
        if (!found) return;
        this.watchers.delete(check);
        clearTimeout(timer);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.watchers.delete(check);
        reject(new Error(`the daemon did not say ${what}:\n${this.lines.join("\n")}`));
      }, 20_000);
      this.watchers.add(check);
      check();
    });
  }

  /** Runs the command line; gives what it prints. */
  cli(...args) {
    const done = spawnSync(BIN, args, { cwd: this.directory, encoding: "utf8", maxBuffer: 1 << 27 });
    if (done.status !== 0) throw new Error(`trunkline ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  }

  logs(id) {
    return this.cli("logs", id, "-n", "100000");
  }

  /** Waits until the log of an instance has a line. */
  async logged(id, pattern) {
    for (const begun = Date.now(); Date.now() - begun < 15_000;) {
      const found = this.logs(id).match(pattern);
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`the log of ${id} has no ${pattern}:\n${this.logs(id).slice(-4000)}`);
  }

  pid(id) {
    const line = this.cli("status").split("\n").find((line) => line.startsWith(`${id}/`));
    return Number(line?.trim().split(/\s+/)[3]);
  }

  /** Connects a client that is closed with the test. */
  async client(t, name = "test", prepare = () => {}) {
    const client = new Client(name, { socket: this.socket });
    prepare(client);
    await client.connect();
    t.after(() => client.close());
    return client;
  }

  async stop(signal = "SIGTERM") {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    await this.over;
  }
}
