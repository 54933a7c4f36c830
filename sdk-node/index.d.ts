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

/**
 * Is any JSON value, checked by nobody: name a type at the registration to have it typed, give a
 * schema to have it checked.
 */
export type Json = any;

/** Is a length of time: `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`. A bare number is refused. */
export type Duration = `${number}${"ms" | "s" | "m" | "h" | "d"}`;

/** Is a value or a promise of it. */
export type Awaitable<T> = T | PromiseLike<T>;

/** Names what went wrong; the same codes on the wire and in every language. */
export type ErrorCode =
  | "topic_not_granted"
  | "invalid_topic"
  | "invalid_frame"
  | "frame_too_large"
  | "unrouted"
  | "id_conflict"
  | "revision_conflict"
  | "lock_lost"
  | "rate_limited"
  | "storage_full"
  | "draining"
  | "stale_generation"
  | "stale_lease"
  | "instance_busy"
  | "not_active"
  | "protocol_mismatch"
  | "gap"
  | "tool_not_found"
  | "unavailable"
  | "not_found"
  | "not_implemented"
  | "invalid_arguments"
  | "tool_failed"
  | "outcome_unknown"
  | "timed_out"
  | "cancelled"
  | "quota_exceeded"
  | "lock_held"
  | "unauthorized"
  | "link_lost"
  | "declaration_conflict"
  | "protocol_violation"
  | "http_error"
  | "config_invalid"
  | "invalid_payload"
  | "invalid_return"
  | "delivery_failed"
  | "delivery_unknown"
  | "internal";

/** Is an error of the catalogue: `code` says which, `message` is for people. */
export declare class TrunklineError extends Error {
  /**
   * @param code - Which error of the catalogue it is.
   * @param message - What was expected, and what was found.
   */
  constructor(
    code: ErrorCode,
    message: string,
    options?: { retryable?: boolean; retryAfterMs?: number; detail?: Json; cause?: unknown },
  );
  /** Says which error it is. */
  readonly code: ErrorCode;
  /** Says whether the same request may succeed later without being changed. */
  readonly retryable: boolean;
  /** Says after how many milliseconds to try again, where that is known. */
  readonly retryAfterMs?: number;
  /** Holds what belongs to the error, for programs. */
  readonly detail?: Json;
}

// ---------------------------------------------------------------------------- payloads

/** A piece of content; a `type` that is not known is kept as it is. */
export interface MessagePart {
  /** What it is: `text`, `image`, `audio`, `video`, `file`, `location`, `quote`, `mention`. */
  type: string;
  /** Text of a text part, a quote or a mention; caption of a medium. */
  text?: string | null;
  /** What to show where the part itself cannot be shown. */
  alt_text?: string | null;
  /** Content by reference, `sha256:…`. */
  blob?: string | null;
  /** Content by address. */
  url?: string | null;
  /** Media type of the content. */
  media_type?: string | null;
  /** File name. */
  name?: string | null;
  /** Size of the content. */
  bytes?: number | null;
  /** Length of an audio or video. */
  duration_ms?: number | null;
  /** Width in pixels. */
  width?: number | null;
  /** Height in pixels. */
  height?: number | null;
  /** Degrees north. */
  latitude?: number | null;
  /** Degrees east. */
  longitude?: number | null;
  /** Who is mentioned or quoted. */
  user?: Sender | null;
  /** Which message is quoted. */
  message_id?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Who wrote a message. */
export interface Sender {
  /** The channel's own id of the person or bot. */
  id: string;
  /** Name to show. */
  name?: string | null;
  /** Handle on the channel. */
  username?: string | null;
  /** Whether it is a program. */
  is_bot?: boolean | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Where a message was said. */
export interface Conversation {
  /** The channel's own id. */
  id: string;
  /** What it is: `direct`, `group`, `channel` or another word. */
  kind?: string | null;
  /** The thread or topic inside it. */
  thread_id?: string | null;
  /** Name to show. */
  name?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** A reaction to a message. */
export interface Reaction {
  /** The message reacted to. */
  target: string;
  /** The emoji or its name. */
  key: string;
  /** `add` or `remove`. */
  op?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** What came in from a channel (`plugin.inbound.*`). It is data: nothing is validated. */
export interface InboundMessage {
  /** The channel's own id of the message. */
  id?: string | null;
  /** The text. */
  text?: string | null;
  /** The text for where `text` or the parts cannot be shown. */
  alt_text?: string | null;
  /** Content beside the text, in order. */
  parts?: MessagePart[] | null;
  /** Where it was said. */
  conversation: Conversation;
  /** Who said it. */
  sender: Sender;
  /** The message it answers. */
  reply_to?: string | null;
  /** The message it replaces. */
  edit_of?: string | null;
  /** The message that was deleted. */
  deleted?: string | null;
  /** The reaction, where it is one. */
  reaction?: Reaction | null;
  /** When it was said, RFC 3339. */
  sent_at?: string | null;
  /** Opaque: where the conversation came from (a start link, a campaign). */
  referrer?: Json;
  /** The channel's own data, under the channel's name. */
  raw?: Record<string, Json> | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** What is to be sent to a channel (`plugin.outbound.*`). It is data: nothing is validated. */
export interface OutboundMessage {
  /** The text. */
  text?: string | null;
  /** The text for a channel that cannot show `text` or the parts. */
  alt_text?: string | null;
  /** Content beside the text, in order. */
  parts?: MessagePart[] | null;
  /** Where to say it. */
  conversation: Conversation;
  /** The message to answer. */
  reply_to?: string | null;
  /** The message to replace. */
  edit_of?: string | null;
  /** The message to delete. */
  deleted?: string | null;
  /** The reaction to set or take back. */
  reaction?: Reaction | null;
  /** Opaque: handed back by the channel. */
  referrer?: Json;
  /** The channel's own data, under the channel's name. */
  raw?: Record<string, Json> | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** What handlers of a topic are given, unless their registration names another type. */
export type PayloadOf<Filter> = Filter extends `plugin.inbound.${string}`
  ? InboundMessage
  : Filter extends `plugin.outbound.${string}`
    ? OutboundMessage
    : Json;

// ---------------------------------------------------------------------------- events

/** What can be said of an event that is drafted. */
export interface DraftOptions {
  /** Names the event; publishing the same id again is answered as a duplicate. */
  id?: string;
  /** Says which conversation it belongs to; for {@link Event.inbound} else the payload's `conversation.id`. */
  session?: string;
  /** Says which event it answers. */
  correlation?: string;
  /** Says after how long it is of no use any more. */
  expires?: Duration;
  /** Makes it ephemeral: only who listens now gets it, and it is never stored. */
  ephemeral?: boolean;
  /** Adds members to the metadata. */
  metadata?: Record<string, Json>;
}

/** Is an event: a fact, and who said it, when, in which conversation. Data keeps its wire names. */
export declare class Event<T = Json> {
  private constructor();
  /** Names the event, unique per source. Empty in a draft: made when it is published. */
  id: string;
  /** When it happened, RFC 3339. Empty in a draft: the broker's clock. */
  timestamp: string;
  /** Where it was published. Empty in a draft: see {@link Event.inbound}. */
  topic: string;
  /** Who published it, as the broker stamped it. */
  source: string;
  /** The conversation it belongs to. */
  session_id?: string;
  /** What it says. */
  payload: T;
  /** The id of the event that this one answers. */
  correlation_id?: string;
  /** The event whose handling produced this one, as `source|id`. */
  causation_id?: string;
  /** The W3C trace context. */
  traceparent?: string;
  /** When it is of no use any more, RFC 3339. */
  expires_at?: string;
  /** The blobs that it keeps alive, as `sha256:…`. */
  blobs: string[];
  /** What else the publisher or the broker added. */
  metadata: Record<string, Json>;
  /** Gives the ordering key: the session within its kind and instance on the channels' topics. */
  get session_key(): string | undefined;
  /**
   * Gives the payload's bytes as they came, while the event is handled; afterwards
   * a `stale_lease`. A draft's are its payload written as JSON.
   */
  get raw(): Buffer;
  /**
   * Drafts an event for a topic. The broker stamps the source; a different one that is claimed
   * here stays visible in its metadata.
   */
  static new<T>(topic: string, source: string, payload: T, options?: DraftOptions): Event<T>;
  /**
   * Drafts what came in from outside: `plugin.inbound.<kind>.<this instance>`.
   *
   * Unless given, the kind is that of the event being handled, else the plugin's only channel, and
   * the session is the payload's `conversation.id`.
   */
  static inbound<T>(payload: T, options?: DraftOptions & { kind?: string }): Event<T>;
}

/** What the broker says of an event that it took. */
export interface Published {
  /** Its number in the store; null for an ephemeral event. */
  seq: number | null;
  /** Whether an event of this id was there already. */
  duplicate: boolean;
  /** How many subscriptions it matched. */
  matched: number;
}

// ---------------------------------------------------------------------------- outcomes

/**
 * Answers the event being handled: on the inbound topic for an outbound event, and the other way
 * round; on `<topic>.reply` for a tool's topic. Same session, same conversation.
 */
export declare class Reply {
  /** @param payload - The answer; a bare text becomes a message's `text`. */
  constructor(payload: unknown);
  /** The answer. */
  readonly payload: Json;
}

/** Asks to be given the event again, later. Return it, or throw it. */
export declare class Retry extends Error {
  /**
   * @param after - When to try again.
   * @param reason - Why.
   * @param options - `counted: false` says that this attempt is no failure: not now, rather than not so.
   */
  constructor(after: Duration, reason?: string, options?: { counted?: boolean });
  /** When to try again. */
  readonly after: string;
  /** Why. */
  readonly reason: string;
  /** Whether it counts as a failed attempt. */
  readonly counted: boolean;
}

/** Says that the event can never be handled: it becomes a dead letter. Return it, or throw it. */
export declare class Reject extends Error {
  /**
   * @param reason - Why, for people.
   * @param code - Why, for programs.
   */
  constructor(reason: string, code?: string);
  /** Why, for people. */
  readonly reason: string;
  /** Why, for programs. */
  readonly code?: string;
}

/** Says that the instance cannot work now: it stops and is started again later. */
export declare class RetryLater extends Error {
  /**
   * @param reason - Why.
   * @param after - For how long.
   */
  constructor(reason: string, after?: Duration);
  /** Why. */
  readonly reason: string;
  /** For how long. */
  readonly after?: string;
}

/** Says that the instance cannot work until somebody logs in. */
export declare class NeedsAuth extends Error {
  /**
   * @param reason - Why.
   * @param url - Where to log in.
   */
  constructor(reason: string, url?: string);
  /** Why. */
  readonly reason: string;
  /** Where to log in. */
  readonly url?: string;
}

/** Says that the instance can never work with this config. */
export declare class Fatal extends Error {
  /** @param reason - Why. */
  constructor(reason: string);
  /** Why. */
  readonly reason: string;
}

/** What became of an outbound message; each implies those before it, but for `failed` and `unknown`. */
export type ReceiptState = "queued" | "sent" | "delivered" | "read" | "failed" | "unknown";

/** Is what became of an outbound message: an outbound handler returns one, `sending.until` gives one. */
export declare class Receipt {
  /** @param state - How far it came. */
  constructor(
    state: ReceiptState,
    options?: {
      /** The channel's own id of the message. */
      providerId?: string;
      /** Why it failed. */
      error?: ReceiptError;
      /** Which piece, where a message was sent in several. */
      part?: { n: number; of: number };
    },
  );
  /** How far it came. */
  readonly state: ReceiptState;
  /** The channel's own id of the message. */
  readonly providerId?: string;
  /** Why it failed. */
  readonly error?: ReceiptError;
  /** Which piece, where a message was sent in several. */
  readonly part?: { n: number; of: number };
}

/** Why an outbound message failed. */
export interface ReceiptError {
  /** Code from the catalogue, or the channel's own. */
  code: string;
  /** What kind of failure: `rejected`, `rate_limited`, `unreachable` or another word. */
  class?: string;
  /** Whether sending it again may help. */
  retryable?: boolean;
  /** Text for people. */
  message?: string;
}

/** A change of keyed state that is part of a commit. */
export type KvChange =
  | {
      op: "put";
      key: string;
      value: unknown;
      /** Lets the key expire. */
      ttl?: Duration;
      /** Writes only if the key still has this revision; 0: if it is absent. */
      ifRevision?: number;
    }
  | { op: "delete"; key: string; ifRevision?: number };

/** Is several events, and changes of keyed state, that are committed together. */
export declare class Batch {
  /**
   * @param events - Drafts, published in this order.
   * @param options - Changes of state, and the lock that must still be held.
   */
  constructor(
    events?: Iterable<Event | Receipt>,
    options?: { kv?: Iterable<KvChange>; ifLock?: Pick<Lock, "name" | "token"> },
  );
  /** Drafts, published in this order. */
  readonly events: (Event | Receipt)[];
  /** Changes of state. */
  readonly kv: KvChange[];
}

/** What a handler may say without answering. */
export type Settled = void | undefined | null | Event | (Event | Receipt)[] | Batch | Reply;

/** What says that it was not handled, or that the instance cannot go on. */
export type Unhandled = Retry | Reject | RetryLater | NeedsAuth | Fatal;

/** What a handler of topics returns. Another value is `invalid_return`. */
export type Outcome = Settled | Unhandled;

/** What an outbound handler returns: a text is the provider's id of what was sent. */
export type OutboundOutcome = Outcome | Receipt | string;

// ---------------------------------------------------------------------------- the context

/** Writes lines to the instance's log, with the event that is being handled. */
export interface Log {
  /** Says what helps to find a fault. */
  debug(message: string, fields?: Record<string, unknown>): void;
  /** Says what happened. */
  info(message: string, fields?: Record<string, unknown>): void;
  /** Says what went wrong and was coped with. */
  warning(message: string, fields?: Record<string, unknown>): void;
  /** Says what needs somebody. */
  error(message: string, fields?: Record<string, unknown>): void;
}

/** What can be said of an event that is published. */
export interface PublishOptions extends DraftOptions {}

/** What can be said of a message that is sent. */
export interface SendOptions {
  /** Says to which conversation; it is the session too. */
  to?: string;
  /** Says through which account; otherwise the one the conversation came in by, or the only one. */
  instance?: string;
  /** Names the event; sending the same id again sends nothing. */
  id?: string;
}

/** How a lock is taken. */
export interface LockOptions {
  /** Says how long the lock outlives a holder that vanished. It is renewed while it is held. */
  ttl?: Duration;
  /** Waits this long for another holder, instead of failing with `lock_held` at once. */
  wait?: Duration;
  /** Gives up waiting. */
  signal?: AbortSignal;
}

/** Is a lock that is held, and renewed, until it is released or lost. */
export interface Lock extends AsyncDisposable {
  /** Its name. */
  readonly name: string;
  /** Gives the fencing token: it grows with every holder. */
  readonly token: number;
  /** Says whether somebody else may hold it by now. */
  readonly lost: boolean;
  /** Is aborted when the lock is lost. */
  readonly signal: AbortSignal;
  /** Gives it back; `lock_lost` when it was lost before. */
  release(): Promise<void>;
}

/** Is a value with the revision it has. */
export interface KvEntry<T = Json> {
  /** The key. */
  key: string;
  /** The value. */
  value: T;
  /** The number of its last change; compare, never count. */
  revision: number;
}

/** Is one change of a key. */
export interface KvUpdate<T = Json> {
  /** The key. */
  key: string;
  /** Its revision now. */
  revision: number;
  /** Its value, unless it was deleted. */
  value?: T;
  /** Whether it was deleted. */
  deleted: boolean;
}

/** Is one store of keys: an instance's, a plugin's, the workspace's, a session's, a client's. */
export interface Kv {
  /** Reads a value; the fallback if the key is absent. */
  get<T = Json>(key: string): Promise<T | undefined>;
  get<T = Json>(key: string, fallback: T): Promise<T>;
  /** Reads a value with its revision; nothing if the key is absent. */
  entry<T = Json>(key: string): Promise<KvEntry<T> | undefined>;
  /** Writes a value; gives the revision. With `ifRevision` only if the key still has it (0: is absent), else `revision_conflict`. */
  put(key: string, value: unknown, options?: { ttl?: Duration; ifRevision?: number }): Promise<number>;
  /** Deletes a key, whether or not it is there. */
  delete(key: string, options?: { ifRevision?: number }): Promise<void>;
  /** Lists the entries whose keys begin with `prefix`, in byte order. */
  list<T = Json>(prefix?: string): Promise<KvEntry<T>[]>;
  /** Changes a value by a function of what it is, again and again until nobody came between; gives the new value. */
  update<T = Json>(key: string, change: (value: T | undefined) => Awaitable<T>, options?: { ttl?: Duration }): Promise<T>;
  /** Follows the changes of keys that begin with `prefix`, from now on or after a revision; ends when the link was lost, or the watcher was too slow. */
  watch<T = Json>(prefix?: string, options?: { fromRevision?: number }): AsyncGenerator<KvUpdate<T>, void, void>;
}

/** Is an instance's {@link Kv}, from which the shared ones are reached. */
export interface ScopedKv extends Kv {
  /** Gives the store that all instances of this plugin share. */
  readonly plugin: Kv;
  /** Gives the store that everybody shares. */
  readonly workspace: Kv;
}

/** Is a message that is durable with the broker, and will be sent. */
export declare class Sending {
  private constructor();
  /** Gives the id of the outbound event; receipts have it as their `correlation_id`. */
  readonly id: string;
  /** Says how it was published. */
  readonly published: Published;
  /**
   * Waits for a state, or one beyond it; a minute, unless said otherwise.
   *
   * @throws {@link TrunklineError} `delivery_failed` and `delivery_unknown` for those states,
   * `timed_out` when neither comes in time.
   */
  until(state: ReceiptState, options?: { timeout?: Duration; signal?: AbortSignal }): Promise<Receipt>;
}

/** Is what a commit gave. */
export interface Committed {
  /** What became of the events, in their order. */
  events: Published[];
  /** The revisions of the keys that were written, in their order. */
  revisions: number[];
}

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
  /** Speaks any method of the contract: the way out where this API has no name for it. */
  request<T = Json>(method: string, params?: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<T>;
  /** Gives this instance's state store (a client's: the client's). */
  readonly kv: ScopedKv;
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
  /** Tells how far a long start is; the start limit begins anew with each. */
  progress(options: { done?: number; total?: number; message?: string; data?: unknown }): void;
  /** Says that the instance serves with restrictions, or without them again. */
  status(state: "ready" | "degraded", reason?: string): void;
  /** Says whether the work is to end. */
  readonly cancelled: boolean;
  /** Is aborted when the work is to end: pass it on to `fetch` and the like. */
  readonly signal: AbortSignal;
}

/** What is known of a delivery. */
export interface DeliveryInfo {
  /** Which attempt this is, from 1. */
  attempt: number;
  /** Whether it may have been handled before. */
  redelivered: boolean;
  /** The subscription that it came by. */
  subscription: string | undefined;
  /** The dead letter that it was, where it was put back. */
  replay_of: string | undefined;
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
  /** Gives the key to hand to a provider: the same at every attempt. */
  readonly idempotencyKey: string;
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
  /** Says how long one event may take. */
  timeout?: Duration;
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
  /** The address of a gateway. This version connects over local sockets only. */
  url?: string;
  /** The token itself. */
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
  /** Speaks any method of the contract. */
  request<T = Json>(method: string, params?: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<T>;
  /** Gives the client's state store. */
  readonly kv: ScopedKv;
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

/** Serves a manifest with one function for all events. */
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
