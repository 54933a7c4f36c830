// Generated clients: what `trunkline tools client --lang node` writes has types, and calls.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { test } from "node:test";
import { blocks } from "./readme/extract.mjs";
import { Daemon } from "./support/daemon.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const TOOLS = process.env.TRUNKLINE_NODE_TYPES;
const ROOT = process.env.TRUNKLINE_ROOT;
const skip = !TOOLS || !ROOT ? "run by check.sh" : false;

const TILL = `
import { Plugin, run } from "trunkline";
const plugin = new Plugin("till");
const text = { type: "string" };
const input = { type: "object", properties: { customer: text, days_until_due: { type: "integer" }, currency: { enum: ["eur", "usd"] } },
  required: ["customer", "days_until_due"] };
const output = { type: "object", properties: { id: text, currency: text }, required: ["id", "currency"] };
plugin.tool("create_invoice", { input, output }, (args) => ({ id: \`in_\${args.customer}_\${args.days_until_due}\`, currency: args.currency ?? "eur" }));
const count = { input: { type: "object", properties: { to: { type: "integer" } }, required: ["to"] }, output: { type: "integer" } };
plugin.tool("count", count, async function* (args) { for (let n = 0; n < args.to; n += 1) yield n; });
run(plugin);
`;

const USES = `
import type { Client, Context, ToolCall } from "trunkline";
import type { TestBroker } from "trunkline/testing";
import { Till, type CreateInvoiceOutput } from "./till.mjs";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_T extends true>(): void => {};

export async function uses(client: Client, ctx: Context, broker: TestBroker): Promise<void> {
  const call = new Till(client).createInvoice({ customer: "c", days_until_due: 3 });
  is<Equal<typeof call, ToolCall<CreateInvoiceOutput>>>();
  const counted = await new Till(ctx, { timeout: "5s" }).count({ to: 3 });
  is<Equal<typeof counted, number[]>>();
  new Till(broker);
}
`;

/** A directory in which the installed package is found. */
function place(t) {
  const directory = mkdtempSync(join(here, "..", "t-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** What the strict compiler says of every module in a directory. */
function compile(directory, ...flags) {
  const options = readFileSync(join(here, "types", "tsconfig.json"), "utf8").replace("@TOOLS@", dirname(TOOLS));
  writeFileSync(join(directory, "tsconfig.json"), options);
  const done = spawnSync(join(TOOLS, ".bin", "tsc"), ["-p", directory, ...flags], { encoding: "utf8" });
  return done.stdout.split("\n").filter((line) => /error TS/.test(line));
}

// Proves LN53, Node part: the page's code calls a tool by its types, through a real daemon; a wrong argument is an error of types.
test("a client calls through a real daemon", { skip }, async (t) => {
  const daemon = await Daemon.start(t, { till: TILL });
  const directory = place(t);
  const file = join(directory, "till.mts");
  daemon.cli("tools", "client", "--lang", "node", "till", "--output", file);
  writeFileSync(join(daemon.directory, "tools.json"), daemon.cli("tools", "list", "--json"));
  daemon.cli("tools", "client", "--lang", "node", "--from", "tools.json", "--output", file, "--check");

  const [page] = blocks(join(ROOT, "docs", "tools.md"), "ts");
  writeFileSync(join(directory, "page.mts"), page);
  writeFileSync(join(directory, "uses.mts"), USES);
  const wrongs = ['days_until_due: "soon"', 'days_until_due: 3, currency: "pound"', "days: 3"];
  wrongs.forEach((wrong, i) => writeFileSync(join(directory, `wrong${i}.mts`), USES.replace("days_until_due: 3", wrong)));
  // One error in each of these, and none in what is right.
  const errors = compile(directory).map((line) => line.match(/(\w+)\.mts/)?.[1]);
  assert.deepEqual(errors.sort(), ["wrong0", "wrong1", "wrong2"]);

  const { default: ts } = await import(pathToFileURL(join(TOOLS, "typescript", "lib", "typescript.js")));
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  for (const name of ["till", "page"]) {
    const code = readFileSync(join(directory, `${name}.mts`), "utf8");
    writeFileSync(join(directory, `${name}.mjs`), ts.transpileModule(code, { compilerOptions }).outputText);
  }
  const { invoice } = await import(pathToFileURL(join(directory, "page.mjs")));
  const { Till } = await import(pathToFileURL(join(directory, "till.mjs")));
  const client = await daemon.client(t, "caller");
  assert.equal(await invoice(client), "in_cus_9_30");
  const till = new Till(client);
  assert.deepEqual(await till.count({ to: 3 }), [0, 1, 2]);
  await assert.rejects(till.createInvoice({ customer: "c", days_until_due: "soon" }), { code: "invalid_arguments" });
});

// Proves X4, Node part: names, recursion and alternatives of any schema pass the strict compiler, and types can be stripped.
test("hard schemas are types", { skip }, (t) => {
  const directory = place(t);
  const hard = join(ROOT, "contract", "vectors", "typed");
  const args = ["tools", "client", "--lang", "node", "--from", join(hard, "tools.json"), "--output", "hard.mts"];
  const done = spawnSync(process.env.TRUNKLINE_BIN, args, { cwd: directory, encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  assert.equal(readFileSync(join(directory, "hard.mts"), "utf8"), readFileSync(join(hard, "client.mts"), "utf8"));
  assert.deepEqual(compile(directory, "--erasableSyntaxOnly", "--verbatimModuleSyntax"), []);
});
