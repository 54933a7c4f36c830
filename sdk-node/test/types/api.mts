// What must compile, and what must not.
import { Batch, Client, Event, Plugin, PluginAdapter, Receipt, Reject, Reply, Retry, ToolError, TrunklineError, isMain, run, serve } from "trunkline";
import type { Context, ErrorCode, InboundMessage, InstanceContext, Json, OutboundMessage, StandardSchema, ToolCaller, payloads } from "trunkline";
import { TestBroker } from "trunkline/testing";
import { z } from "zod";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const is = <_T extends true>(): void => {};

interface Config {
  token: string;
}
interface Order {
  n: number;
  big: bigint;
}
declare const schema: StandardSchema<Order>;

const plugin = new Plugin<Config>("p", { version: "1.0.0", credit: { events: 8, bytes: 1 << 20 } });
plugin.on("plugin.inbound.sms.>", (message, ctx) => {
  is<Equal<typeof message, InboundMessage>>();
  is<Equal<typeof ctx.config.token, string>>();
  const text: string | null | undefined = message.text;
  return text ? new Reply(text) : undefined;
});
plugin.on<Order>("agent.order", { timeout: "1m", start: { seq: 1 }, settle: "manual" }, async (order, ctx) => {
  is<Equal<typeof order, Order>>();
  is<Equal<typeof ctx.event.payload, Order>>();
  ctx.ack();
});
plugin.on("agent.order", { payload: schema }, (order) => {
  is<Equal<typeof order, Order>>();
});
plugin.on("agent.anything", (payload) => {
  is<Equal<typeof payload, Json>>();
  return Event.new("agent.b", "p", payload.any.thing);
});
plugin.poll("rss", { feed: "https://a.example/feed", every: "30m" }, (item, ctx) => {
  is<Equal<typeof item.title, string | undefined>>();
  is<Equal<typeof ctx.config.token, string>>();
});
plugin.poll<Order>("list", { json: { url: "https://a.example", idField: "n", paginate: { by: "link" } } }, (order) => {
  is<Equal<typeof order, Order>>();
});
plugin.poll<number>("updates", { every: "0s" }, (offset) => {
  is<Equal<typeof offset, number | null>>();
  return new Batch([], { cursor: (offset ?? 0) + 1 });
});
// @ts-expect-error: a list says where its items' ids are.
plugin.poll("list", { json: { url: "https://a.example" } }, () => {});
plugin.poll("told", { every: "1m", credential: "{config.token}", alert: { kind: "ops", to: "room" } }, () => {});
// @ts-expect-error: an alert says whom to tell.
plugin.poll("told", { every: "1m", alert: { kind: "ops" } }, () => {});
plugin.outbound("sms", { timeout: "15s" }, async (message, ctx) => {
  is<Equal<typeof message, OutboundMessage>>();
  if (!message.text) throw new Reject("no text");
  if (ctx.cancelled) return new Retry("30s", "later");
  return new Receipt("sent", { providerId: message.conversation.id });
});
plugin.onStart(async (ctx: InstanceContext<Config>) => ({ since: ctx.config.token }));
plugin.onStop((_ctx, reason) => void reason.length);
plugin.onError(RangeError, (error) => new Reject(error.message));

plugin.tool<Order>("t", { input: { type: "object" }, concurrency: 8, kind: "command" }, async (order, ctx) => {
  is<Equal<typeof order, Order>>();
  is<Equal<typeof ctx.caller, string | undefined>>();
  await ctx.chunk(order);
  if (ctx.config.token === "") throw new ToolError("no token", "unauthorized", true);
  return { any: "value" };
});
plugin.tool("words", { input: true }, async function* () {
  yield "one";
});
const arguments_ = z.object({ id: z.string(), times: z.int().default(1) });
plugin.tool("typed", { input: arguments_, output: z.object({ n: z.int() }), timeout: "5s" }, async (args, ctx) => {
  is<Equal<typeof args, { id: string; times: number }>>();
  is<Equal<typeof ctx.config.token, string>>();
  return args.times > 9 ? new Retry("1s", "busy") : { n: args.times };
});
plugin.tool("stream", { input: arguments_, output: z.string() }, async function* ({ id }) {
  yield id;
});
plugin.tool("open", { input: arguments_ }, ({ id }) => ({ any: id }));
// @ts-expect-error the result is no text
plugin.tool("typed", { input: arguments_, output: z.object({ n: z.int() }) }, () => ({ n: "one" }));
// @ts-expect-error there is no such argument
plugin.tool("typed", { input: arguments_ }, ({ other }) => other);
// @ts-expect-error a schema that offers no JSON Schema
plugin.tool("typed", { input: schema }, () => null);
// @ts-expect-error a tool without a schema
plugin.tool("t", {}, () => {});
// @ts-expect-error a row is no outcome
plugin.on("agent.a", async () => ({ id: 1 }));
// @ts-expect-error a number is no duration
plugin.on("agent.a", { timeout: 30 }, () => {});
// @ts-expect-error nor is a text without a unit
plugin.on("agent.a", { timeout: "30" }, () => {});
// @ts-expect-error an option that does not exist
plugin.on("agent.a", { timout: "30s" }, () => {});
// @ts-expect-error a text is a receipt, which topics have none of
plugin.on("agent.a", () => "id");
// @ts-expect-error there is no such state
new Receipt("posted");

async function calls(ctx: Context<Order, Config>, client: Client): Promise<void> {
  const { seq } = await ctx.publish("agent.a", { n: 1n }, { id: "x", expires: "1h", ephemeral: true });
  is<Equal<typeof seq, number | null>>();
  const n = await ctx.kv.update<number>("n", (n) => (n ?? 0) + 1, { ttl: "7d" });
  is<Equal<typeof n, number>>();
  const got = await ctx.kv.get<string>("k");
  is<Equal<typeof got, string | undefined>>();
  const kept = await ctx.kv.plugin.get("k", 5);
  is<Equal<typeof kept, number>>();
  const result = await ctx.lock("l", { ttl: "5s" }, async (lock) => lock.token);
  is<Equal<typeof result, number>>();
  await ctx.emit(new Batch([Event.inbound({ text: "x" }, { kind: "sms" })], { kv: [{ op: "delete", key: "k" }] }));
  await (await ctx.send("sms", "hi", { to: "x" })).until("delivered", { timeout: "1m" });
  for await (const delivery of client.subscribe<Order>(["a", "b"], { credit: 4 })) {
    is<Equal<typeof delivery.payload, Order>>();
    delivery.nak("1s");
  }
  for await (const change of ctx.kv.watch<number>("w/")) is<Equal<typeof change.value, number | undefined>>();
  const call = ctx.callTool<Order>("p.t", { n: 1n }, { timeout: "5s", instance: "a", idempotencyKey: "k" });
  for await (const step of call) if (step.kind === "progress") is<Equal<typeof step.done, number | undefined>>();
  const made = await call;
  is<Equal<typeof made, Order>>();
  call.cancel("no need");
  ctx.event.raw.readUInt8(0);
  // @ts-expect-error an option that does not exist
  await ctx.publish("agent.a", {}, { ttl: "1s" });
}

function narrows(error: unknown): number | undefined {
  if (!(error instanceof TrunklineError)) return undefined;
  const code: ErrorCode = error.code;
  switch (error.code) {
    case "storage_full":
    case "rate_limited":
      return error.retryAfterMs;
    // @ts-expect-error there is no such code
    case "full":
      return 1;
    default:
      return code.length;
  }
}

const adapter = new PluginAdapter({ manifestToml: "", onEvent: async (topic, event, broker) => void (await broker.publish(topic, event)) });
async function test(t: { after(fn: () => unknown): unknown }): Promise<void> {
  const broker = await TestBroker.start(t, plugin, { config: { token: "t" }, instances: ["a"] });
  const event = await broker.expectPublished<Order>("agent.>", { n: 1 }, { within: "2s" });
  is<Equal<typeof event.payload, Order>>();
  broker.kill({ at: "before_commit" });
  broker.fault("drop_ack", { times: 2 });
  // @ts-expect-error there is no such fault
  broker.fault("nothing");
}
if (isMain(import.meta)) await run(plugin, new Client("c"), adapter);
export { calls, narrows, serve, test };

// What the schemas have is what the package says.
declare const caller: ToolCaller;
const called: Promise<number> = caller.callTool<number>("a.b");
void called;
is<Equal<payloads.InboundMessage["conversation"], payloads.Conversation | null | undefined>>();
is<Equal<InboundMessage["conversation"], payloads.Conversation>>();
is<Equal<payloads.DeadReason, "rejected" | "delivery_limit" | "too_old" | "crashed" | "expired" | "removed" | "filed">>();
