// Tools of schemas: what zod and others say, and the arguments that arrive converted.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "node:test";
import { Client, Plugin } from "trunkline";
import { TestBroker } from "trunkline/testing";

const TOOLS = process.env.TRUNKLINE_NODE_TYPES;
const VECTORS = join(process.env.TRUNKLINE_ROOT ?? "", "contract", "vectors", "tool_schemas.json");
const skip = !TOOLS || !existsSync(VECTORS) ? "run by check.sh" : false;
const vectors = skip ? {} : JSON.parse(readFileSync(VECTORS, "utf8"));
const { z } = skip ? {} : await import(pathToFileURL(join(TOOLS, "zod", "index.js")));

/** The tools of the vectors. */
function typed() {
  const plugin = new Plugin("vectors");
  const Invoice = z.object({
    id: z.string(),
    status: z.string().describe("What became of it."),
    total: z.number(),
    paid_at: z.string().nullable(),
  });
  const NewInvoice = z
    .object({
      customer: z.string().regex(/^cus_/).describe("Customer id, cus_…"),
      days_until_due: z.int().min(1).max(90),
      currency: z.enum(["eur", "usd"]).default("eur"),
      memo: z.string().nullish().describe("Stands on the invoice."),
      tags: z.array(z.string()).max(3),
    })
    .describe("Draft an invoice for a customer.");
  plugin.tool("create_invoice", { input: NewInvoice, output: Invoice }, async ({ customer, currency, days_until_due }) => {
    return { id: `in_${customer}`, status: currency, total: days_until_due, paid_at: null };
  });

  const Place = z.object({ name: z.string(), at: z.tuple([z.number(), z.number()]) }).meta({ id: "Place", description: "A place on the map." });
  const Search = z.object({
    near: Place,
    but: Place.nullish().describe("Where not to look."),
    weights: z.record(z.string(), z.number()),
    any: z.any(),
  });
  plugin.tool("search", { input: Search, output: z.array(Place), description: "Find places." }, ({ near }) => [near]);

  const Tree = z.object({
    name: z.string(),
    get children() {
      return z.array(Tree);
    },
  });
  const size = (tree) => tree.children.reduce((sum, child) => sum + size(child), 1);
  plugin.tool("count", { input: z.object({ tree: Tree }), output: z.int(), description: "Count a tree." }, ({ tree }) => size(tree));

  const mail = z.object({ kind: z.literal("mail"), address: z.string() });
  const sms = z.object({ kind: z.literal("sms"), number: z.string() });
  const Notify = z.object({ to: z.discriminatedUnion("kind", [mail, sms]), text: z.string() });
  plugin.tool("notify", { input: Notify, output: z.null(), description: "Tell somebody." }, () => null);
  plugin.tool("ping", { input: z.object({}), output: z.string(), description: "Say that it is there." }, () => "pong");
  return plugin;
}

/** What a broker knows of a plugin's tools. @param {any} broker */
async function declared(broker) {
  const agent = new Client("agent");
  await broker.attach(agent);
  const { tools } = await agent.request("tool.list", {});
  const known = tools.map(({ tool, name, description, input_schema: input, output_schema: output }) => [
    (tool ?? name).split(".").at(-1),
    { description, input, output },
  ]);
  return Object.fromEntries(known);
}

// Proves P3a and LN53 (inference), Node part: what zod says is the schema, which is that of the same tool in every language.
test("zod gives the schemas of the vectors", { skip }, async (t) => {
  const broker = await TestBroker.start(t, typed());
  const found = await declared(broker);
  assert.deepEqual(Object.keys(found).sort(), Object.keys(vectors).sort());
  // As texts: the order is part of what a model sees.
  for (const [name, expected] of Object.entries(vectors)) assert.equal(JSON.stringify(found[name]), JSON.stringify(expected), name);
});

test("arguments arrive as the schema makes them", { skip }, async (t) => {
  const plugin = typed();
  plugin.tool("trim", { input: z.object({ text: z.string().trim(), times: z.int().default(2) }) }, ({ text, times }) => text.repeat(times));
  plugin.tool("even", { input: z.object({ n: z.int().refine((n) => n % 2 === 0, "not even") }) }, ({ n }) => n);
  plugin.tool("words", { input: z.object({ of: z.string() }), output: z.string() }, async function* ({ of }) {
    yield* of.split(" ");
  });
  const broker = await TestBroker.start(t, plugin);
  const invoice = await broker.callTool("vectors.create_invoice", { customer: "cus_9", days_until_due: 14, tags: [] });
  assert.deepEqual(invoice, { id: "in_cus_9", status: "eur", total: 14, paid_at: null });
  assert.equal(await broker.callTool("vectors.count", { tree: { name: "a", children: [{ name: "b", children: [] }] } }), 2);
  assert.equal(await broker.callTool("vectors.trim", { text: " ab " }), "abab");
  assert.equal(await broker.callTool("vectors.words", { of: "one two" }), "onetwo");
  assert.equal(await broker.callTool("vectors.notify", { to: { kind: "sms", number: "1" }, text: "" }), null);
  const refused = (name, args, message) => assert.rejects(broker.callTool(name, args), { code: "invalid_arguments", message });
  await refused("vectors.create_invoice", { customer: "x", days_until_due: 14, tags: [] }, /customer/);
  await refused("vectors.create_invoice", { customer: "cus_9", days_until_due: 91, tags: [] }, /days_until_due/);
  await refused("vectors.notify", { to: { kind: "sms", address: "1" }, text: "" }, /to/);
  // What JSON Schema cannot say is said by the schema itself.
  await refused("vectors.even", { n: 3 }, /\/n: not even/);
});

// Proves P3a: an output that does not fit the schema is flagged, and reaches no caller.
test("an output that does not fit is flagged", { skip }, async (t) => {
  const plugin = new Plugin("p");
  plugin.tool("wrong", { input: z.object({}), output: z.object({ n: z.int() }) }, () => ({ n: "one" }));
  const broker = await TestBroker.start(t, plugin);
  await assert.rejects(broker.callTool("p.wrong"), { code: "tool_failed", message: /output/ });
});

test("a schema of another library is taken by what it offers", { skip }, async (t) => {
  const validate = (value) => ({ value: { ...value, seen: true } });
  const jsonSchema = { input: ({ target }) => ({ $schema: target, type: "object", title: "Any" }), output: () => ({}) };
  const input = Object.assign(() => {}, { "~standard": { version: 1, vendor: "own", validate, jsonSchema } });
  const plugin = new Plugin("p");
  plugin.tool("t", { input }, (args) => args);
  const broker = await TestBroker.start(t, plugin);
  assert.deepEqual((await declared(broker)).t.input, { type: "object" });
  assert.deepEqual(await broker.callTool("p.t", { a: 1 }), { a: 1, seen: true });
});

test("what has no JSON Schema is refused at registration", { skip }, () => {
  const plugin = new Plugin("p");
  const refused = (options, message) => assert.throws(() => plugin.tool("t", options, () => {}), { code: "invalid_arguments", message });
  refused({ input: z.object({ at: z.date() }) }, /tool "t": input: the schema of zod has no JSON Schema: Date/);
  refused({ input: z.string() }, /tool "t": input: expected the schema of an object/);
  refused({ input: z.object({}), output: z.bigint() }, /tool "t": output: the schema of zod/);
  const handler = () => {};
  assert.equal(plugin.tool("t", { input: z.object({}) }, handler), handler);
});
