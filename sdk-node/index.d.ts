/**
 * Trunkline for Node: durable topics, plugins and agents on one Rust core.
 *
 * A {@link Plugin} or a {@link Client} is a plain object with handlers on it; {@link run} runs one
 * or several. A handler is a function `(payload, ctx)`; what it returns or throws settles what it
 * was given. Sessions run in parallel, the events of one session in order.
 *
 * Data keeps its wire names (`event.session_id`, `reply_to`); only the package's own names are in
 * camel case. Integers beyond 2^53 are `bigint`, in both directions.
 *
 * @packageDocumentation
 */

import type { Http } from "./types/http.js";
import type {
  Assembly, Awaitable, Batch, Blobs, Committed, DeliveryInfo, Duration, Event, Json, Kv, Lock, LockOptions, Log,
  OutboundMessage, OutboundOutcome, Outcome, PayloadOf, PublishOptions, Published, Receipt, Reject, Retry, ScopedKv,
  SendOptions, Sending, ToolError, Unhandled,
} from "./types/data.js";
import type {
  AssembleHandler, AssembleOptions, Conn, ConnectOptions, FeedItem, FeedPollOptions, FrameHandler, JsonPollOptions,
  PollHandler, PollOptions, TimerHandler, TimerOptions, Timers, WebhookHandler, WebhookOptions,
} from "./types/patterns.js";

export * from "./types/data.js";
export * from "./types/http.js";
export * from "./types/patterns.js";

/**
 * Reaches the broker on behalf of one instance; lives as long as the instance.
 *
 * Hooks get it, and every {@link Context} is one.
 */
export declare class InstanceContext<Config = Record<string, Json>> {
  protected constructor();
  /** Publishes an event, durable when it returns. */
  publish(topic: string, payload: unknown, options?: PublishOptions): Promise<Published>;
  /** Commits drafts now, all or none; returned instead, they commit with the ack. */
  emit(batch: Batch): Promise<Committed>;
  emit(...events: (Event | Receipt)[]): Promise<Committed>;
  /** Sends a message outside, through a channel of this kind. */
  send(kind: string, message: unknown, options?: SendOptions): Promise<Sending>;
  /** Takes a lock: a named right across processes and hosts. With a function, holds it for as long as that runs. */
  lock(name: string, options?: LockOptions): Promise<Lock>;
  lock<T>(name: string, use: (lock: Lock) => Awaitable<T>): Promise<T>;
  lock<T>(name: string, options: LockOptions, use: (lock: Lock) => Awaitable<T>): Promise<T>;
  /** Calls a tool: awaited it gives the result, iterated what comes before it. */
  callTool<T = Json>(name: string, args?: unknown, options?: CallOptions): ToolCall<T>;
  /** Offers a tool from now on, in place of the one of its name; see {@link Plugin.tool}. */
  registerTool<A, T = unknown>(
    name: string,
    options: TypedToolOptions<A, T>,
    handler: ToolHandler<A, ToolResult<T>, Config>,
  ): Promise<ToolHandler<A, ToolResult<T>, Config>>;
  registerTool<A = any, T = unknown>(name: string, options: ToolOptions, handler: ToolHandler<A, T, Config>): Promise<ToolHandler<A, T, Config>>;
  /** Offers a tool no longer; calls of it that run go on. */
  unregisterTool(name: string): Promise<void>;
  /** Speaks any method of the contract: the way out where this API has no name for it. */
  request<T = Json>(method: string, params?: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<T>;
  /** Gives this instance's state store (a client's: the client's). */
  readonly kv: ScopedKv;
  /** Gives the instance's timers: the broker keeps them, and tells by an event when one is due. */
  readonly timer: Timers;
  /** Gives the broker's blobs: large content by reference. */
  readonly blob: Blobs;
  /** This kind's connection; while a frame is handled, the socket that it came from. */
  readonly conn: Conn;
  /** Gives the client for HTTP servers outside; while something is handled, its calls end with the time that is left. */
  readonly http: Http;
  /** Writes lines to the instance's log. */
  readonly log: Log;
  /** Gives the instance's config; secrets stand in it as plain text. */
  readonly config: Readonly<Config>;
  /** Gives what `onStart` returned. */
  readonly state: Json;
  /** Gives the account's label; a client's name for a client; empty before the handshake. */
  readonly instance: string;
  /** Gives the channel's kind, where there is only one. */
  readonly kind: string | undefined;
  /** Tells how far a tool's call is, or a long start, whose limit begins anew with each. */
  progress(options: { done?: number; total?: number; message?: string; data?: unknown }): void;
  /** Says that the instance serves with restrictions, or without them again. */
  status(state: "ready" | "degraded", reason?: string): void;
  /**
   * Gives the public address of a webhook; nothing where the daemon serves no HTTP.
   * @param name Its name; `kind/name` where the plugin has several kinds.
   */
  hookUrl(name?: string): string | undefined;
  /**
   * Gives the socket for an HTTP server of the plugin's own: `server.listen(ctx.listener())`. It listens
   * already, and who connects while the plugin restarts waits in it. Throws `not_found` where plugin.toml does
   * not ask for `http_server`, or the operator does not grant it.
   */
  listener(): { fd: number };
  /** Says whether the work is to end. */
  readonly cancelled: boolean;
  /** Is aborted when the work is to end: pass it on to `fetch` and the like. */
  readonly signal: AbortSignal;
}

/** Is the conversation that the event being handled belongs to. */
export interface Session {
  /** Gives the session's id as the event has it. */
  readonly id: string | undefined;
  /** Gives the state of this conversation, of which no other event is in flight here. */
  readonly kv: Kv;
}

/**
 * Reaches the broker while one event is handled. It is an {@link InstanceContext} too.
 *
 * It ends with its handler: what goes on after that keeps the context that `onStart` was given.
 */
export declare class Context<T = Json, Config = Record<string, Json>> extends InstanceContext<Config> {
  /** Gives the envelope of the event being handled. */
  readonly event: Event<T>;
  /** Gives the topic the event came on. */
  readonly topic: string;
  /** Gives the channel's kind, where the topic belongs to one. */
  readonly kind: string | undefined;
  /** Says which attempt this is; nothing for an ephemeral event, which has only one. */
  readonly delivery: DeliveryInfo | undefined;
  /** Gives the conversation that the event belongs to. */
  readonly session: Session;
  /** Gives the moment at which the handler's time is over. */
  readonly deadline: Date;
  /** Gives the time that is left for this event, in milliseconds. */
  readonly remaining: number;
  /** Gives the key to hand to a provider: the same at every attempt. Of a call it is the caller's. */
  readonly idempotencyKey: string;
  /** Says which part of a text that was too long for the channel this is, from 1, and of how many. */
  readonly split: { readonly n: number; readonly of: number };
  /** Says why an assembler's function is called now, and what is missing; nothing anywhere else. */
  readonly assembly: Assembly | undefined;
  /** Says who calls the tool: `client:<name>`, or `<plugin>/<instance>`; nothing for an event. */
  readonly caller: string | undefined;
  /** Sends a chunk of the result of a streaming tool; waits while the caller's window is full. What a generator yields is sent so. */
  chunk(data: unknown): Promise<void>;
  /** Answers now; a {@link Reply} that is returned instead commits with the ack. */
  reply(payload: unknown): Promise<Published>;
  /** Says whether the work is to end: its time is over, or the instance stops. A second later nobody waits for its result. */
  readonly cancelled: boolean;
  /** Is aborted when the work is to end. */
  readonly signal: AbortSignal;
  /** Settles the event as handled. Only for handlers with `settle: "manual"`. */
  ack(): void;
  /** Asks for the event again later. Only for handlers with `settle: "manual"`. */
  nak(after: Duration, reason?: string, options?: { counted?: boolean }): void;
  /** Refuses the event for good. Only for handlers with `settle: "manual"`. */
  reject(reason: string, code?: string): void;
}

// ---------------------------------------------------------------------------- registrations

/** Is a schema of the Standard Schema specification: zod, Valibot, ArkType and others make them. */
export interface StandardSchema<Output = unknown> {
  /** The specification's own member. */
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

/** What a {@link StandardSchema} says of a value. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined }[] };

/** Says how failures of a subscription's deliveries are handled; absent members have defaults. */
export interface RetryPolicy {
  /** Counted failures that dead-letter a delivery. */
  failures_max?: number;
  /** Waits between attempts; the last one repeats. */
  backoff_ms?: number[];
  /** Longest time from the first lease to the dead letter. */
  age_max_ms?: number;
  /** Length of a lease. */
  lease_ms?: number;
  /** What happens to an event whose `expires_at` has passed: it is dead-lettered, or dropped and counted. */
  on_expired?: "dead" | "drop";
}

/** Says how much a subscription may keep back. */
export interface Hold {
  /** How long. */
  age_ms?: number;
  /** How many bytes. */
  bytes?: number;
}

/** Where a new subscription begins. */
export type Start = "new" | "earliest" | { seq: number } | { time: string };

/** Options of a handler for topics. */
export interface OnOptions<T = Json> {
  /** Names the subscription; otherwise the function's name, else the filter. */
  name?: string;
  /** Shares the events with all processes of this group. */
  group?: string;
  /** Says where a new subscription begins; `new` otherwise. */
  start?: Start;
  /** Says how many events, and how many bytes of them, may be in flight. */
  credit?: { events: number; bytes: number };
  /** Says how failures are handled, where the defaults do not fit. */
  retry?: RetryPolicy;
  /** Says how long one event may take. */
  timeout?: Duration;
  /** Lets the handler settle by `ctx.ack()`, `ctx.nak()`, `ctx.reject()`, until its timeout. */
  settle?: "manual";
  /** Checks payloads; one that does not fit is rejected as `invalid_payload`. */
  payload?: StandardSchema<T>;
}

/** Options of an outbound handler. */
export interface OutboundOptions<T = OutboundMessage> {
  /** Says how long one event may take; with one of the next four, how long one call may. */
  timeout?: Duration;
  /** Says how often the provider may be called by this instance: `"30/s"`. */
  rate?: string;
  /** Says how often for one conversation. */
  ratePerTarget?: string;
  /** Says that the provider takes `ctx.idempotencyKey` only once, or twice does no harm. */
  idempotent?: boolean;
  /** Asks the provider what became of a call: gives its id, a receipt, or nothing where it never got it. */
  reconcile?: OutboundHandler<T>;
  /** Lets the handler settle by `ctx.ack()`, `ctx.nak()`, `ctx.reject()`; no receipt is made. */
  settle?: "manual";
  /** Checks payloads; one that does not fit is rejected as `invalid_payload`. */
  payload?: StandardSchema<T>;
}

/** Handles events of topics. */
export type Handler<T = Json, Config = Record<string, Json>> = (payload: T, ctx: Context<T, Config>) => Awaitable<Outcome>;

/** Sends outside what agents publish for a kind of channel; what it returns is the receipt. */
export type OutboundHandler<T = OutboundMessage, Config = Record<string, Json>> = (
  payload: T,
  ctx: Context<T, Config>,
) => Awaitable<OutboundOutcome>;

/** A JSON Schema, of the version 2020-12. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/** Options of a tool. */
export interface ToolOptions {
  /** The JSON Schema of its arguments; `{ type: "object" }` for any object. */
  input: JsonSchema;
  /** The JSON Schema of its result, of one chunk if it is streaming. */
  output?: JsonSchema;
  /** What it does, for people and models. */
  description?: string;
  /** Says how long a call may take; the caller may say less. */
  timeout?: Duration;
  /** Says how many calls run at once; more wait. */
  concurrency?: number;
  /** Says that running it twice does no more than running it once. */
  idempotent?: boolean;
  /** Says that its result comes in chunks; always so of a generator. */
  streaming?: boolean;
  /** What it is for: a model chooses a `tool`, a person gives a `command`, a `retriever` finds context. */
  kind?: "tool" | "command" | "retriever";
}

/** Is a Standard Schema that offers its JSON Schema: of zod 4.2, ArkType 2.1.28, Valibot through its converter. */
export interface ToolSchema<Output = unknown> {
  /** The specification's own member. */
  readonly "~standard": StandardSchema<Output>["~standard"] & {
    readonly jsonSchema: Readonly<Record<"input" | "output", (options: { readonly target: "draft-2020-12" }) => Record<string, unknown>>>;
  };
}

/** Options of a tool whose schemas are types too: its arguments are checked and converted, its results are held to. */
export interface TypedToolOptions<A, T> extends Omit<ToolOptions, "input" | "output"> {
  /** The schema of its arguments. */
  input: ToolSchema<A>;
  /** The schema of its result, of one chunk if it is streaming. */
  output?: ToolSchema<T> | undefined;
}

/** Is what a typed tool may give: its result, the pieces of it, or why there is none. */
export type ToolResult<T> = Awaitable<T | Retry | Reject | ToolError> | AsyncGenerator<T, void> | Generator<T, void>;

/** Serves a tool: what it returns is the result, what it throws the error; a generator streams what it yields. */
export type ToolHandler<A = any, T = unknown, Config = Record<string, Json>> = (args: A, ctx: Context<A, Config>) => T;

/** Options of a call. */
export interface CallOptions {
  /** Says how long it may take; while something is handled, what is left for that at most. */
  timeout?: Duration;
  /** Says which instance runs it, where the plugin has several. */
  instance?: string;
  /** Names what is done: a repeat under the same key is answered as the first was. */
  idempotencyKey?: string;
  /** Cancels it. */
  signal?: AbortSignal;
}

/** Is what a call tells before its result. */
export type ToolStep =
  | { kind: "progress"; done: number | undefined; total: number | undefined; message: string | undefined; data: Json | undefined }
  | { kind: "chunk"; data: Json };

/**
 * Is a call of a tool: awaited it is the result, iterated it gives progress and chunks before.
 *
 * It begins at once. Of a streaming tool whose chunks were not read the result is all of them: texts as one text,
 * anything else as an array.
 */
export declare class ToolCall<T = Json> implements Promise<T>, AsyncIterable<ToolStep> {
  private constructor();
  /** Gives the call up: its handler is told. */
  cancel(reason?: string): void;
  /** Waits for the result. */
  then<A = T, B = never>(
    fulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    rejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;
  /** Waits for the error. */
  catch<B = never>(rejected?: ((reason: any) => B | PromiseLike<B>) | null): Promise<T | B>;
  /** Waits for the end. */
  finally(settled?: (() => void) | null): Promise<T>;
  [Symbol.asyncIterator](): AsyncIterator<ToolStep>;
  readonly [Symbol.toStringTag]: string;
}

/**
 * Is whoever calls tools: a {@link Client}, the context of an instance or of a handler, a `TestBroker`.
 *
 * `trunkline tools client --lang node` writes classes that take one.
 */
export interface ToolCaller {
  /** Calls a tool: awaited it gives the result, iterated what comes before it. */
  callTool<T = Json>(name: string, args?: unknown, options?: CallOptions): ToolCall<T>;
}

/** Options of a plugin. */
export interface PluginOptions<Config = Record<string, Json>> {
  /** Says which version this is. */
  version?: string;
  /** Says how many events, and how many bytes of them, it takes at a time. */
  credit?: { events: number; bytes: number };
  /** Checks the config at each start, and a new one before `onConfig`. */
  config?: StandardSchema<Config>;
}

/**
 * Is a plugin: handlers and hooks. {@link run} serves it.
 *
 * A registration returns its function unchanged, so that a unit test can call it.
 *
 * @example
 * ```ts
 * import { Plugin, Reply, isMain, run } from "trunkline";
 *
 * export const plugin = new Plugin("echo");
 * plugin.outbound("echo", async (payload) => new Reply(payload));
 * if (isMain(import.meta)) await run(plugin);
 * ```
 */
export declare class Plugin<Config = Record<string, Json>> {
  /**
   * Begins a plugin.
   *
   * @param id - That of its manifest.
   */
  constructor(id: string, options?: PluginOptions<Config>);
  /** Gives the id. */
  readonly id: string;
  /** Adds a handler for topics. */
  on<T = never, Filter extends string = string>(
    filter: Filter | readonly Filter[],
    handler: Handler<Given<T, Filter>, Config>,
  ): Handler<Given<T, Filter>, Config>;
  on<T = never, Filter extends string = string>(
    filter: Filter | readonly Filter[],
    options: OnOptions<T>,
    handler: Handler<Given<T, Filter>, Config>,
  ): Handler<Given<T, Filter>, Config>;
  /** Adds a handler that sends outside: `plugin.outbound.<kind>.<this instance>`. */
  outbound<T = OutboundMessage>(kind: string, handler: OutboundHandler<T, Config>): OutboundHandler<T, Config>;
  outbound<T = OutboundMessage>(
    kind: string,
    options: OutboundOptions<T>,
    handler: OutboundHandler<T, Config>,
  ): OutboundHandler<T, Config>;
  /**
   * Adds a handler for what a provider sends; what it returns is published with the ack.
   *
   * The daemon verifies the raw bytes, stores the request and answers 2xx before.
   *
   * @example
   * ```ts
   * import { Event, Plugin } from "trunkline";
   *
   * const plugin = new Plugin("github");
   * plugin.webhook("github", { verify: "github", secret: "{config.webhook_secret}" }, async (request) => {
   *   if (request.headers["x-github-event"] !== "issues") return;
   *   return Event.inbound({ text: request.json().issue.title });
   * });
   * ```
   */
  webhook(kind: string, options: WebhookOptions, handler: WebhookHandler<Config>): WebhookHandler<Config>;
  /**
   * Keeps a connection, and adds the handler of its frames, which are handled in order, one at a time.
   *
   * What it returns is committed with its cursor; then the batch's `ack` is sent. `new Retry("0s")` asks for
   * another connection beside this one, a `Retry` after a time for one in its place.
   *
   * @example
   * ```ts
   * import { Batch, Event, Plugin } from "trunkline";
   *
   * const plugin = new Plugin("chat");
   * plugin.connect("chat", { url: "wss://gateway.example.com/v1", idle: "60s", fatal: [4004] }, async (f, ctx) => {
   *   if (f.op === "hello") return void (await ctx.conn.send({ op: "login", resume: ctx.conn.cursor }));
   *   return new Batch([Event.inbound({ text: f.text })], { cursor: f.seq });
   * });
   * ```
   */
  connect<T = any>(kind: string, options: ConnectOptions<Config>, handler: FrameHandler<T, Config>): FrameHandler<T, Config>;
  /**
   * Handles the events of a timer, and sets the timer if it has a schedule. A final `*` stands for all names
   * that begin so.
   *
   * @example
   * ```ts
   * import { Plugin } from "trunkline";
   *
   * const plugin = new Plugin("news");
   * plugin.timer("digest", { cron: "0 9 * * *", tz: "Europe/Berlin" }, async ({ dueAt }) => {
   *   console.log(dueAt);
   * });
   * ```
   */
  timer(name: string, handler: TimerHandler<Config>): TimerHandler<Config>;
  timer(name: string, options: TimerOptions, handler: TimerHandler<Config>): TimerHandler<Config>;
  /**
   * Adds a function that gets all parts of a whole, in order, once.
   *
   * @example
   * ```ts
   * import { Event, Plugin } from "trunkline";
   *
   * const plugin = new Plugin("sms");
   * plugin.assemble<string>("sms", { silence: "30s" }, async (parts, ctx) => {
   *   const text = parts.map((part) => part.data).join(ctx.assembly?.missing.length ? "…" : "");
   *   return Event.inbound({ text, conversation: { id: parts[0]!.session } });
   * });
   * ```
   */
  assemble<T = Json>(kind: string, handler: AssembleHandler<T, Config>): AssembleHandler<T, Config>;
  assemble<T = Json>(kind: string, options: AssembleOptions, handler: AssembleHandler<T, Config>): AssembleHandler<T, Config>;
  /**
   * Asks somebody else, again and again, what is new; what is returned is published in one commit.
   *
   * With `feed` or `json` the core fetches, and the function gets new items only. Without, it gets the cursor, and
   * returns a {@link Batch} with the next one.
   *
   * @example
   * ```ts
   * import { Event, Plugin } from "trunkline";
   *
   * const plugin = new Plugin("rss");
   * plugin.poll("rss", { feed: "{config.url}", every: "30m", jitter: "5m" }, async (item) =>
   *   Event.inbound({ text: item.title ?? "", conversation: { id: "news" } }));
   * ```
   */
  poll(kind: string, options: FeedPollOptions, handler: PollHandler<FeedItem, Config>): PollHandler<FeedItem, Config>;
  poll<T = any>(kind: string, options: JsonPollOptions, handler: PollHandler<T, Config>): PollHandler<T, Config>;
  poll<Cursor = any>(kind: string, options: PollOptions, handler: PollHandler<Cursor | null, Config>): PollHandler<Cursor | null, Config>;
  /**
   * Adds a tool that others may call as `<plugin>.<name>`.
   *
   * `input` and `output` are JSON Schemas, or Standard Schemas that offer theirs, such as zod's: then the
   * arguments arrive as the schema converts them, and the types of the handler follow.
   *
   * @example
   * ```ts
   * import { Plugin } from "trunkline";
   *
   * const plugin = new Plugin("sums");
   * const input = { type: "object", properties: { a: { type: "number" }, b: { type: "number" } }, required: ["a", "b"] };
   * plugin.tool("add", { input, timeout: "5s", idempotent: true }, ({ a, b }) => a + b);
   * ```
   */
  tool<A, T = unknown>(
    name: string,
    options: TypedToolOptions<A, T>,
    handler: ToolHandler<A, ToolResult<T>, Config>,
  ): ToolHandler<A, ToolResult<T>, Config>;
  tool<A = any, T = unknown>(name: string, options: ToolOptions, handler: ToolHandler<A, T, Config>): ToolHandler<A, T, Config>;
  /** Runs at each activation; what it returns is `ctx.state`. Nothing outside is opened before. */
  onStart<Hook extends (ctx: InstanceContext<Config>) => unknown>(hook: Hook): Hook;
  /** Runs once for each start: on deactivation, shutdown, the end of the link, and SIGTERM. */
  onStop<Hook extends (ctx: InstanceContext<Config>, reason: string) => unknown>(hook: Hook): Hook;
  /** Runs with a new config, and accepts it by returning; {@link Reject} keeps the old. */
  onConfig<Hook extends (ctx: InstanceContext<Config>, config: Readonly<Config>) => unknown>(hook: Hook): Hook;
  /** Runs when the operator pauses the instance: no new events come. */
  onPause<Hook extends (ctx: InstanceContext<Config>, reason: string) => unknown>(hook: Hook): Hook;
  /** Runs when a pause ends. */
  onResume<Hook extends (ctx: InstanceContext<Config>, reason: string) => unknown>(hook: Hook): Hook;
  /** Translates errors of a type that handlers throw into outcomes; nothing returned leaves the error as it is. */
  onError<E extends Error>(type: abstract new (...args: any[]) => E, translate: ErrorTranslator<E>): ErrorTranslator<E>;
}

/** The payload's type as it was named, else as the topic has it. */
export type Given<T, Filter> = [T] extends [never] ? PayloadOf<Filter> : T;

/** Makes an outcome of an error. */
export type ErrorTranslator<E extends Error> = (error: E, ctx: Context) => Awaitable<Unhandled | undefined | void>;

/** How to reach the daemon; what is not said comes from the environment, then from the defaults. */
export interface ClientOptions {
  /** The daemon's socket; otherwise `TRUNKLINE_SOCKET`, else `.trunkline/trunkline.sock`. */
  socket?: string;
  /** The daemon's address over WebSocket, such as `ws://127.0.0.1:7711/v1/link`; otherwise `TRUNKLINE_URL`, else its socket. */
  url?: string;
  /** The token itself; otherwise `TRUNKLINE_TOKEN`. */
  token?: string;
  /** The file that holds the token; otherwise `TRUNKLINE_TOKEN_FILE`, else the one beside the socket. */
  tokenFile?: string;
}

/** Options of a subscription that is read. */
export interface SubscribeOptions {
  /** Names the subscription; otherwise made of the filter. */
  name?: string;
  /** Shares the events with all who read it by this group. */
  group?: string;
  /** Says where a new subscription begins; `new` otherwise. */
  start?: Start;
  /** Says how many deliveries may be in flight. */
  credit?: number;
  /** Says how failures are handled, where the defaults do not fit. */
  retry?: RetryPolicy;
  /** Says how much it may keep back. */
  hold?: Hold;
  /** Says after how long without a reader it is forgotten. */
  expire?: Duration;
  /** Says how long one delivery may take. */
  timeout?: Duration;
}

/** Is one event that was handed over; it is settled once. */
export declare class Delivery<T = Json> {
  private constructor();
  /** The topic the event came on. */
  readonly topic: string;
  /** The envelope. */
  readonly event: Event<T>;
  /** What the event says. */
  readonly payload: T;
  /** Which attempt this is; 0 for an ephemeral event. */
  readonly attempt: number;
  /** Whether it may have been handled before. */
  readonly redelivered: boolean;
  /** The subscription that it came by. */
  readonly subscription: string | null;
  /** Settles the event as handled. */
  ack(): void;
  /** Asks for the event again later. */
  nak(after: Duration, reason?: string, options?: { counted?: boolean }): void;
  /** Refuses the event for good. */
  reject(reason: string, code?: string): void;
}

/** Is a subscription that is read: an async iterator of deliveries; credit is renewed as it is read. */
export declare class Subscription<T = Json> implements AsyncIterableIterator<Delivery<T>>, AsyncDisposable {
  private constructor();
  /** Tells its name, whether it was made now, and its position, once it is open. */
  readonly opened: Promise<{ name: string; created: boolean; cursor: number }>;
  /** Waits for the next delivery; done when the link is lost. */
  next(): Promise<IteratorResult<Delivery<T>, undefined>>;
  /** Ends reading; the durable subscription stays. */
  return(): Promise<IteratorResult<Delivery<T>, undefined>>;
  /** Moves its position; gives the new one. */
  seek(to: Start): Promise<number>;
  /** Ends reading; the durable subscription stays. */
  close(): Promise<void>;
  /** Deletes the durable subscription. */
  delete(): Promise<void>;
  [Symbol.asyncIterator](): this;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Is an agent, an app, or a script: handlers on topics, and calls. */
export declare class Client implements AsyncDisposable {
  /** @param name - Names the client; subscriptions belong to this name. */
  constructor(name: string, options?: ClientOptions);
  /** Gives the name. */
  readonly name: string;
  /** Adds a handler for topics; before it is connected. */
  on<T = never, Filter extends string = string>(
    filter: Filter | readonly Filter[],
    handler: Handler<Given<T, Filter>>,
  ): Handler<Given<T, Filter>>;
  on<T = never, Filter extends string = string>(
    filter: Filter | readonly Filter[],
    options: OnOptions<T>,
    handler: Handler<Given<T, Filter>>,
  ): Handler<Given<T, Filter>>;
  /** Translates errors of a type that handlers throw into outcomes; nothing returned leaves the error as it is. */
  onError<E extends Error>(type: abstract new (...args: any[]) => E, translate: ErrorTranslator<E>): ErrorTranslator<E>;
  /** Connects, and keeps connecting again when the link is lost; the program lives until it is closed. */
  connect(): Promise<this>;
  /** Ends the connection in order. */
  close(): Promise<void>;
  /** Waits until there will be no link any more; an error says why. */
  ended(): Promise<void>;
  /** Publishes an event, durable when it returns. */
  publish(topic: string, payload: unknown, options?: PublishOptions): Promise<Published>;
  /** Commits drafts now, all or none. */
  emit(batch: Batch): Promise<Committed>;
  emit(...events: Event[]): Promise<Committed>;
  /** Sends a message outside, through a channel of this kind. */
  send(kind: string, message: unknown, options?: SendOptions): Promise<Sending>;
  /** Takes a lock: a named right across processes and hosts. With a function, holds it for as long as that runs. */
  lock(name: string, options?: LockOptions): Promise<Lock>;
  lock<T>(name: string, use: (lock: Lock) => Awaitable<T>): Promise<T>;
  lock<T>(name: string, options: LockOptions, use: (lock: Lock) => Awaitable<T>): Promise<T>;
  /** Calls a tool: awaited it gives the result, iterated what comes before it. */
  callTool<T = Json>(name: string, args?: unknown, options?: CallOptions): ToolCall<T>;
  /** Speaks any method of the contract. */
  request<T = Json>(method: string, params?: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<T>;
  /** Gives the client's state store. */
  readonly kv: ScopedKv;
  /** Gives the broker's blobs: large content by reference. */
  readonly blob: Blobs;
  /** Writes lines to the client's log. */
  readonly log: Log;
  /** Reads a durable subscription, or makes it. */
  subscribe<T = never, Filter extends string = string>(
    filters: Filter | readonly Filter[],
    options?: SubscribeOptions,
  ): Subscription<Given<T, Filter>>;
  [Symbol.asyncDispose](): Promise<void>;
}

// ---------------------------------------------------------------------------- the low-level API

/** Publishes, and speaks any method of the contract. */
export declare class BrokerSender {
  private constructor();
  /** Publishes an event; the topic given here wins over the event's. */
  publish(topic: string, event: Event): Promise<Published>;
  /** Speaks any method of the contract. */
  request<T = Json>(method: string, params?: Record<string, unknown>): Promise<T>;
  /** Gives the account's label; empty before the handshake. */
  readonly instance: string;
}

/** Serves a manifest with one function for all events. Calls of tools are none: {@link Plugin} serves a manifest with `[[tools]]`. */
export declare class PluginAdapter {
  /** @param options - The text of a `plugin.toml` or `nexo-plugin.toml`, and the functions; a bad manifest is the error of {@link PluginAdapter.run}. */
  constructor(options: {
    /** The manifest's text. */
    manifestToml: string;
    /** Gets every event: its topic, itself, and the sender. What it returns settles the event. */
    onEvent?: (topic: string, event: Event, broker: BrokerSender) => Awaitable<OutboundOutcome>;
    /** Runs at each activation. */
    onStart?: (ctx: InstanceContext) => unknown;
    /** Runs once at the end. */
    onShutdown?: (ctx: InstanceContext, reason: string) => unknown;
  });
  /** Gives the sender; a publish before the instance is active waits until it is. */
  readonly broker: BrokerSender;
  /** Gives the account's label; empty before the handshake. */
  readonly instance: string;
  /** Serves until the broker, a signal, or the end of the link says to stop. */
  run(): Promise<void>;
  /** The same, on stdin and stdout alone. */
  runStdio(): Promise<void>;
}

// ---------------------------------------------------------------------------- running

/** What can be run. */
export type Runnable = Plugin<any> | Client | PluginAdapter;

/**
 * Runs plugins and clients until they are told to stop: the whole program.
 *
 * A plugin takes the link it was given (`TRUNKLINE_LINK_FD`, else stdio that is a pipe); started by
 * hand it attaches to the local daemon. SIGINT and SIGTERM stop it in order, a second one at once.
 * `console` goes to the instance's log, too. An error is written to stderr and becomes the exit
 * code; the promise never rejects. A rejection that nobody handles is logged with its place, and
 * ends the program as Node does, whose events are then given to its successor.
 */
export declare function run(...runnables: Runnable[]): Promise<void>;

/** Does the same as {@link run} in a program of your own: signals, console and exit code are yours, errors reject. */
export declare function serve(...runnables: Runnable[]): Promise<void>;

/** Says whether a module is the program: give it `import.meta`, or CommonJS' `module`. */
export declare function isMain(module: { url: string } | { filename: string | null }): boolean;
