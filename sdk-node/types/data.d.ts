/**
 * What plugins and agents give and get: events, messages, outcomes, errors, state.
 *
 * @packageDocumentation
 */

import type { TimerChange, WebhookAnswer } from "./patterns.js";
import type * as payloads from "./payloads.js";

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

/** The payloads as their schemas have them, made of these; see `contract/schemas`. */
export type * as payloads from "./payloads.js";
export type { Card, CardAction, Choice, Conversation, MessagePart, MessagePoll, Reaction, Sender, UiAction } from "./payloads.js";

/** What came in from a channel (`plugin.inbound.*`). It is data: nothing is validated. */
export interface InboundMessage extends payloads.InboundMessage {
  /** Where it was said. */
  conversation: payloads.Conversation;
  /** Who said it. */
  sender: payloads.Sender;
}

/** What is to be sent to a channel (`plugin.outbound.*`). It is data: nothing is validated. */
export interface OutboundMessage extends payloads.OutboundMessage {
  /** Where to say it. */
  conversation: payloads.Conversation;
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
  /** Names blobs that are kept with it, and open to whoever receives it. */
  blobs?: Iterable<BlobRef | string>;
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

/** Says that a tool could not do what it was asked to. Throw it, or return it. */
export declare class ToolError extends Error {
  /**
   * @param message - What went wrong, for people and models.
   * @param code - A code of the catalogue, such as `not_found`, is the code of the error; any other stands in the detail of a `tool_failed`.
   * @param retryable - Whether the same call may succeed later.
   */
  constructor(message: string, code?: string, retryable?: boolean);
  /** Names the failure for programs. */
  readonly code?: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
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
      /** Features that the channel does not have, and in whose place text was sent. */
      degraded?: string[];
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
  /** Features that the channel does not have, and in whose place text was sent. */
  readonly degraded?: string[];
}

/** Why an outbound message failed. */
export interface ReceiptError {
  /** Code from the catalogue, or the channel's own. */
  code: string;
  /** What kind of failure: `rejected`, `rate_limited`, `unreachable`, `not_supported` or another word. */
  class?: string;
  /** Whether sending it again may help. */
  retryable?: boolean;
  /** Text for people. */
  message?: string;
  /** What the channel cannot do, of the class `not_supported`: a feature as the manifest names it. */
  feature?: string;
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

/** What else is committed with the events of a batch. */
export interface BatchOptions {
  /** Changes of timers, in this order. */
  timers?: Iterable<TimerChange>;
  /** Changes of state. */
  kv?: Iterable<KvChange>;
  /** The lock that must still be held. */
  ifLock?: Pick<Lock, "name" | "token">;
  /** Where the outside goes on from, in a poll or a connection; `null` forgets. */
  cursor?: unknown;
  /** How soon to poll or to connect next, in place of the schedule. */
  again?: Duration;
  /** What the outside gets once the rest is durable: a webhook's answer, or a frame of a connection. */
  ack?: WebhookAnswer | unknown;
  /** Parts for an assembler. */
  parts?: Iterable<Part>;
}

/** Is a piece of something that an assembler puts together. */
export declare class Part<T = Json> {
  /**
   * @param data - What it brings.
   * @param of - What it is a piece of: session and group together; its number from 1, how many there are, whether it is the last.
   */
  constructor(
    data: T,
    of: { session: string; group?: string; seq?: number; total?: number; final?: boolean; kind?: string },
  );
  readonly data: T;
  /** Whose it is: a conversation, a sender. */
  readonly session: string;
  /** Which of the session's wholes it belongs to. */
  readonly group: string | undefined;
  /** Its number, from 1. */
  readonly seq: number | undefined;
  /** How many there are. */
  readonly total: number | undefined;
  /** It is the last one. */
  readonly final: boolean;
  /** The channel's kind, where the plugin assembles several. */
  readonly kind: string | undefined;
}

/** Is what an assembler is told beside the parts. */
export interface Assembly {
  /** Why the whole is made now. */
  readonly reason: "complete" | "final" | "silence" | "max_age" | "max_parts" | "max_bytes" | "evicted";
  /** Numbers of parts that are known to be missing, ascending. */
  readonly missing: number[];
  /** When the first part came, RFC 3339. */
  readonly started_at: string;
}

/** Is several events, and changes of keyed state, that are committed together. */
export declare class Batch {
  /**
   * @param events - Drafts, published in this order.
   * @param options - Changes of state, the lock that must still be held, and what is for the outside.
   */
  constructor(events?: Iterable<Event | Receipt>, options?: BatchOptions);
  /** Drafts, published in this order. */
  readonly events: (Event | Receipt)[];
  /** Changes of state. */
  readonly kv: KvChange[];
  /** Changes of timers. */
  readonly timers: Record<string, Json>[];
}

/** What a handler may say without answering. */
export type Settled = void | undefined | null | Event | (Event | Receipt)[] | Batch | Reply | Part | Part[];

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
  /** Reads a value that must be there; throws `not_found` if the key is absent. */
  require<T = Json>(key: string): Promise<T>;
  /** Reads several values, each by itself: not as they were at one moment. Absent keys are left out. */
  getMany<T = Json>(keys: Iterable<string>): Promise<Map<string, T>>;
  /** Writes bytes, kept as a text in base64; as `put`. */
  putBytes(key: string, bytes: Uint8Array, options?: { ttl?: Duration; ifRevision?: number }): Promise<number>;
  /** Reads what `putBytes` wrote; throws `invalid_payload` for any other value. */
  getBytes(key: string): Promise<Buffer | undefined>;
  /** Writes a value; gives the revision. With `ifRevision` only if the key still has it (0: is absent), else `revision_conflict`. More than 256 KiB, or more than the owner may keep, is `quota_exceeded`. */
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

/** Names a blob: what events carry in place of its bytes. */
export interface BlobRef {
  /** `sha256:…`, the same for the same content. */
  readonly id: string;
  /** How many bytes it has. */
  readonly bytes: number;
  /** What it is, such as `image/png`. */
  readonly media_type: string | undefined;
}

/** Is the broker's store of large content. */
export interface Blobs {
  /**
   * Puts bytes, the file at a `file:` URL, or what a stream gives; durable when it returns. Name it in an event
   * (`blobs: [blob]`), or it goes after a day; the parts of a standard message name theirs by themselves.
   *
   * A string is refused with a `TypeError`: nobody could tell a path from a text. `pathToFileURL(path)` of `node:url`
   * makes a URL of a path.
   */
  put(
    content: Uint8Array | URL | AsyncIterable<Uint8Array>,
    options?: { mediaType?: string },
  ): Promise<BlobRef>;
  /** Reads a whole blob into memory; see `open` for large ones. */
  get(blob: BlobRef | string): Promise<Buffer>;
  /** Opens a blob as a stream of its bytes. */
  open(blob: BlobRef | string): Promise<import("node:fs").ReadStream>;
  /** Describes a blob. */
  stat(blob: BlobRef | string): Promise<BlobRef>;
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
