// The broker's side of a link, by hand: starts a plugin and speaks frames with it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

export class Wire {
  /** @param {any} t @param {string} code The plugin. @param {{ link?: "fd" | "stdio", id?: string }} options */
  static async start(t, code, { link = "fd", id = "wire", args = [], isReady = true, env = {} } = {}) {
    const wire = new Wire();
    wire.id = id;
    const directory = mkdtempSync(join(ROOT, "w-"));
    writeFileSync(join(directory, "main.mjs"), code);
    const stdio = link === "fd" ? ["ignore", "pipe", "pipe", "pipe"] : ["pipe", "pipe", "pipe"];
    const child = spawn(process.execPath, [...args, "main.mjs"], {
      cwd: directory,
      stdio,
      env: { ...process.env, ...env, ...(link === "fd" ? { TRUNKLINE_LINK_FD: "3" } : {}) },
    });
    wire.child = child;
    wire.stdout = "";
    wire.stderr = "";
    wire.frames = [];
    wire.watchers = new Set();
    wire.number = 0;
    const input = link === "fd" ? child.stdio[3] : child.stdout;
    wire.output = link === "fd" ? child.stdio[3] : child.stdin;
    wire.output.on("error", () => {});
    if (link === "fd") child.stdout.on("data", (data) => (wire.stdout += data));
    child.stderr.on("data", (data) => (wire.stderr += data));
    let rest = "";
    input.setEncoding("utf8").on("data", (chunk) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        try {
          wire.frames.push(JSON.parse(line));
        } catch {
          wire.bad = line.slice(0, 200);
        }
      }
      for (const watcher of [...wire.watchers]) watcher();
    });
    wire.exited = once(child, "exit").then(([code, signal]) => ({ code, signal }));
    t.after(() => child.kill("SIGKILL"));
    if (isReady) await wire.ready();
    return wire;
  }

  send(message) {
    this.output.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  async ask(method, params) {
    const id = `t${++this.number}`;
    this.send({ id, method, params });
    return this.frame((frame) => frame.id === id && !frame.method);
  }

  async ready() {
    const answer = await this.ask("initialize", {
      protocol: { name: "trunkline", min: "1.0", max: "1.0" },
      host: { name: "trunkline", version: "0.1.0" },
      plugin: this.id,
      instance: "default",
      config: {},
      secrets: {},
      limits: { frame_bytes_max: 1 << 20, event_bytes_max: 1032192 },
      services: ["kv", "lock", "log"],
    });
    if (answer.error) throw new Error(JSON.stringify(answer.error));
    await this.ask("instance.activate", { generation: 1 });
    await this.frame((frame) => frame.method === "instance.status" && frame.params.state === "ready");
  }

  /** Waits for a frame, and takes it. */
  frame(fits, timeout = 10_000) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const at = this.frames.findIndex(fits);
        if (at < 0) return;
        this.watchers.delete(look);
        clearTimeout(timer);
        resolve(this.frames.splice(at, 1)[0]);
      };
      const timer = setTimeout(() => {
        this.watchers.delete(look);
        reject(new Error(`no such frame; there are ${JSON.stringify(this.frames).slice(0, 2000)}\nstderr: ${this.stderr}`));
      }, timeout);
      this.watchers.add(look);
      look();
    });
  }

  /** Hands an event over. */
  deliver(n, payload, { session = `s${n}`, topic = `plugin.outbound.${this.id}.default` } = {}) {
    this.send({
      method: "broker.event",
      params: {
        topic,
        event: { id: `e${n}`, timestamp: "2026-01-01T00:00:00.000Z", topic, source: "client:t", session_id: session, payload },
        delivery: { id: `d${n}`, subscription: `instance.${this.id}.default`, seq: n, attempt: 1, redelivered: false, lease_ms: 60000 },
      },
    });
  }

  /** Answers a commit as the broker would. */
  answer(frame) {
    const events = frame.params.events ?? [];
    this.send({ id: frame.id, result: { events: events.map((_, i) => ({ seq: i + 1, duplicate: false, matched: 0 })), kv: [], stale: [] } });
  }

  end() {
    this.output.end();
    if (this.output.destroy && this.child.stdio[3]) this.output.destroy();
  }
}
