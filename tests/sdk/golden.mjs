// The plugin of the golden transcripts in JavaScript: an order says what to do; the same in `golden.py` and `golden_plugin.rs`.
import { execFileSync } from "node:child_process";
import { appendFileSync, writeSync } from "node:fs";
import {
  Batch, Event, Fatal, NeedsAuth, Plugin, Receipt, Reject, Reply, Retry, RetryLater, ToolError, TrunklineError,
  run,
} from "trunkline";

const plugin = new Plugin("golden", { version: "0.1.0", credit: { events: 8, bytes: 65536 } });
const INBOUND = "plugin.inbound.golden.default";

function fault({ code, message, retryable }) {
  return new Reply({ code, message, retryable });
}

function shown(ctx) {
  const { event, delivery } = ctx;
  return {
    attempt: delivery.attempt,
    blobs: event.blobs,
    causation_id: event.causation_id ?? null,
    correlation_id: event.correlation_id ?? null,
    expires_at: event.expires_at ?? null,
    id: event.id,
    idempotency_key: ctx.idempotencyKey,
    metadata: event.metadata,
    raw: event.raw.toString(),
    redelivered: delivery.redelivered,
    session_id: event.session_id ?? null,
    session_key: event.session_key ?? null,
    source: event.source,
    timestamp: event.timestamp,
    topic: ctx.topic,
    traceparent: event.traceparent ?? null,
  };
}

async function publish(ctx, payload, topic = INBOUND) {
  try {
    const { duplicate, matched, seq } = await ctx.publish(topic, payload);
    return new Reply({ duplicate, matched, seq });
  } catch (error) {
    if (error instanceof TrunklineError) return fault(error);
    throw error;
  }
}

const orders = {
  reply: ({ value }) => new Reply(value),
  nothing: () => {},
  text: () => "P-1",
  receipt: () => new Receipt("delivered", { providerId: "P-2" }),
  retry: () => new Retry("30s", "later"),
  retry_uncounted: () => {
    throw new Retry("1s", "not yet", { counted: false });
  },
  retry_bare: () => new Retry("5", "a bare number"),
  reject: () => new Reject("no such number", "bad_number"),
  fail: () => {
    throw new RangeError("boom");
  },
  error: () => {
    throw new TrunklineError("unavailable", "the network is away");
  },
  needs_auth: () => {
    throw new NeedsAuth("log in again", "https://example.com/login");
  },
  retry_later: () => {
    throw new RetryLater("the network is away", "30s");
  },
  fatal: () => {
    throw new Fatal("the account is gone");
  },
  event: () => Event.inbound({ conversation: { id: "7" }, text: "one" }),
  batch: ({ do: order }) =>
    new Batch([Event.inbound({ text: "one" }, { id: "own-1" }), Event.new("agent.note", "", { text: "two" })], {
      kv: [{ op: "put", key: "seen", value: order }],
    }),
  publish: (_, ctx) => publish(ctx, { n: 1 }),
  publish_to: ({ topic }, ctx) => publish(ctx, { n: 1 }, topic),
  publish_through: async (_, ctx) => void (await ctx.publish("agent.note", { n: 1 })),
  publish_nan: (_, ctx) => publish(ctx, { n: [1, NaN] }),
  publish_infinity: (_, ctx) => publish(ctx, { n: -Infinity }),
  publish_surrogate: (_, ctx) => publish(ctx, { text: "\ud800" }),
  reply_nan: () => new Reply({ n: NaN }),
  reply_now: async (_, ctx) => void (await ctx.reply({ text: "at once" })),
  kv: async (_, ctx) => {
    const revision = await ctx.kv.put("count", 1);
    const found = await ctx.kv.get("count");
    return new Reply({ found, revision });
  },
  kind: (_, ctx) => Event.new("agent.seen", "", { kind: ctx.kind ?? null }),
  show: (_, ctx) => new Reply(shown(ctx)),
  print: (_, ctx) => {
    process.stdout.write("no newline");
    writeSync(1, "straight to the descriptor");
    execFileSync("printf", ["by a child"], { stdio: ["ignore", "inherit", "inherit"] });
    return publish(ctx, { n: 1 });
  },
};

plugin.outbound("golden", async (order, ctx) => orders[order.do](order, ctx));
plugin.on("agent.ask", { name: "ask" }, async (order, ctx) => orders[order.do](order, ctx));
plugin.on("agent.slow", { name: "slow", timeout: "300ms" }, () => new Promise(() => {}));
plugin.on("agent.>", { name: "every" }, async (_, ctx) => Event.new("agent.seen", "", shown(ctx)));

const obeyed = {
  value: ({ value }) => value,
  nothing: () => {},
  error: () => {
    throw new ToolError("too old", "too_old", true);
  },
  known: () => new ToolError("no such charge", "not_found"),
  retry: () => {
    throw new Retry("3s", "busy");
  },
  reject: () => new Reject("no", "invalid_arguments"),
  fail: () => {
    throw new RangeError("boom");
  },
  nan: () => ({ n: NaN }),
  show: (_, ctx) => ({
    caller: ctx.caller ?? null,
    delivery: ctx.delivery !== undefined,
    idempotency_key: ctx.idempotencyKey,
    session_id: ctx.session.id ?? null,
    topic: ctx.topic,
  }),
  publish: async (_, ctx) => (await ctx.publish("agent.note", { n: 1 })).seq,
  progress: (_, ctx) => ctx.progress({ done: 1, total: 2, message: "half", data: { n: 1 } }),
  wait: (_, ctx) => {
    ctx.progress({ message: "began" });
    return new Promise((_, reject) => ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason)));
  },
  call: async (_, ctx) => {
    try {
      return await ctx.callTool("other.inner", { n: 1 }, { timeout: "2s", idempotencyKey: "k" });
    } catch ({ code, message, retryable }) {
      return { code, message, retryable };
    }
  },
  steps: async (_, ctx) => {
    const call = ctx.callTool("other.inner", {}, { timeout: "2s", instance: "a" });
    const steps = [];
    for await (const { kind, data, message } of call) steps.push([kind, data ?? null, message ?? null]);
    return { result: await call, steps };
  },
};
const object = { type: "object" };
plugin.tool(
  "obey",
  { input: object, description: "Do what is said.", timeout: "20s", concurrency: 200 },
  async (order, ctx) => obeyed[order.do](order, ctx),
);
plugin.tool("count", { input: object, output: { type: "string" }, idempotent: true }, async function* ({ to }, ctx) {
  ctx.progress({ done: 0, total: to, message: "counting" });
  for (let n = 0; n < to; n++) yield `${n} `;
});

plugin.onStart(async (ctx) => {
  switch (ctx.config.start) {
    case "needs_auth":
      throw new NeedsAuth("log in", "https://example.com/login");
    case "retry_later":
      throw new RetryLater("the network is away", "30s");
    case "fatal":
      throw new Fatal("no such account");
    case "fail":
      throw new RangeError("boom");
    case "publish":
      await ctx.publish(INBOUND, { text: "before the first event" }, { id: "first" });
      break;
    case "progress":
      ctx.progress({ done: 1, total: 2, message: "scan the code", data: { qr: "2@abc" } });
      ctx.progress({ message: "signing in" });
  }
});

const said = (what) => appendFileSync(process.env.GOLDEN_HOOKS, `${what}\n`);

plugin.onStop(async (ctx) => {
  said("stop");
  if (ctx.config.stop === "fail") throw new RangeError("boom");
});
plugin.onConfig(async (_, { level }) => {
  said(`config ${level}`);
  if (level === "bad") throw new Reject("level must not be bad", "bad_level");
  if (level === "boom") throw new RangeError("boom");
});
plugin.onPause(async (_, reason) => said(`pause ${reason}`));
plugin.onResume(async () => said("resume"));

await run(plugin);
