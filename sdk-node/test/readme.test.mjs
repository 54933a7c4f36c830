// The README's code runs, as it stands there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { Client, Event, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";
import { blocks } from "./readme/extract.mjs";
import { Daemon } from "./support/daemon.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const README = [join(here, "..", "README.md")].find(existsSync);
const TOOLS = process.env.TRUNKLINE_NODE_TYPES;
const without = !README || !TOOLS ? "run by check.sh" : false;

/** The blocks as JavaScript; types are taken off by the compiler. */
async function load(t) {
  const directory = mkdtempSync(join(here, "..", "r-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, "plugin.toml"), blocks(README, "toml")[0]);
  const { default: ts } = await import(pathToFileURL(join(TOOLS, "typescript", "lib", "typescript.js")));
  return blocks(README, "ts").map((code, i) => {
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    const file = join(directory, `block_${i}.mjs`);
    writeFileSync(file, ts.transpileModule(code, { compilerOptions: options }).outputText);
    return { code, file, directory };
  });
}

test("every block of the README does what it says", { skip: without }, async (t) => {
  const found = await load(t);
  const block = async (part) => {
    const one = found.find(({ code }) => code.includes(part));
    assert.ok(one, `a block with ${part}`);
    return import(pathToFileURL(one.file));
  };
  assert.equal(found.length, 8);

  const { plugin: echo } = await block('new Plugin("echo")');
  const broker = await TestBroker.start(t, echo);
  await broker.send("echo", "hi", { to: "me" });
  await broker.expectPublished("plugin.inbound.echo.default", { text: "hi" });

  // An agent that answers an echo would never be done: it has a channel that takes what is sent.
  const quiet = new Plugin("echo");
  quiet.outbound("echo", () => {});
  quiet.on("agent.say", (message) => Event.inbound(message, { kind: "echo" }));
  const desk = await TestBroker.start(t, quiet);
  const { agent } = await block('new Client("support")');
  await desk.attach(agent);
  await desk.publish("agent.say", { text: "help", conversation: { id: "me" } });
  await desk.expectPublished("plugin.outbound.echo.default", { text: "1: sent" }, { within: "1m" });

  const { plugin: stripe, invoice } = await block('new Plugin("stripe")');
  const tills = await TestBroker.start(t, stripe);
  assert.deepEqual(await invoice(tills), [{ id: "in_1", key: "k1" }, [{ id: "in_1" }, { id: "in_2" }]]);

  const { plugin: orders } = await block('("orders")');
  const shop = await TestBroker.start(t, orders, { config: { limit: 100 } });
  await shop.publish("agent.order", { id: "o1", total: 5 }, { session: "s" });
  await shop.publish("agent.order", { id: "o2", total: 500 }, { session: "s" });
  await shop.expectPublished("agent.order_seen", { id: "o1", seen: 1 });
  await shop.expectPublished("agent.order_taken", { id: "o1" });
  assert.equal((await shop.deadLetters()).length, 1);

  const { plugin: chat } = await block('("chat")');
  await TestBroker.start(t, chat, { config: { token: "t" } });

  const { drain } = await block("function drain");
  const client = await broker.attach(new Client("ops"));
  assert.deepEqual(await drain(client), ["one"]);

  const { adapter } = await (async () => {
    const one = found.find(({ code }) => code.includes("PluginAdapter"));
    const before = process.cwd();
    process.chdir(one.directory);
    try {
      return await import(pathToFileURL(one.file));
    } finally {
      process.chdir(before);
    }
  })();
  assert.ok(adapter);

  const tested = found.find(({ code }) => code.includes("node:test"));
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const ran = spawnSync(process.execPath, ["--test", tested.file], { encoding: "utf8", env });
  assert.equal(ran.status, 0, ran.stdout);
});

test("the ten lines run under the daemon, with the manifest beside them", { skip: without }, async (t) => {
  const code = blocks(README, "ts")[0];
  const daemon = await Daemon.start(t, { echo: { code, manifest: blocks(README, "toml")[0] } });
  const client = await daemon.client(t);
  const answers = client.subscribe("plugin.inbound.echo.>", { name: "a", start: "earliest" });
  await client.send("echo", "hi", { to: "me" });
  const { value } = await answers.next();
  assert.equal(value.payload.text, "hi");
  value.ack();
});
