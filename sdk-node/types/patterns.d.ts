/** Options and handlers of the patterns: webhooks, connections, parts, timers. @packageDocumentation */

import type { Context, InstanceContext } from "../index.js";
import type { Awaitable, Duration, Json, Outcome, Part } from "./data.js";

/** Options of a webhook. */
export interface WebhookOptions {
  /** Whose signature: `github`, `slack`, `stripe`, `standard`, `generic` and more; without it the manifest has the declaration. */
  verify?: string;
  /** One or more texts with `{config.<key>}`; each of them is active. */
  secret?: string | readonly string[];
  /** Tells it from others of its kind: the last part of its path. */
  name?: string;
  /** How long the provider waits for the batch's `ack`. */
  respond?: Duration;
  /** Says how long handling one request may take. */
  timeout?: Duration;
  /** How old, and how far ahead, a signature may be. */
  tolerance?: Duration;
  /** The signature, for `verify: "generic"`. */
  signature?: Record<string, Json>;
  /** Where the provider's id is: `header:<name>` or a JSON pointer. */
  id?: string;
  /** JSON pointer to what becomes the session: its requests are handled in order. */
  session?: string;
  /** Methods taken besides POST. */
  methods?: readonly string[];
  /** Largest body, in bytes. */
  bodyBytesMax?: number;
  /** Media types taken. */
  contentTypes?: readonly string[];
  /** The word that Meta's GET has to bring: a text with `{config.<key>}`. */
  verifyToken?: string;
  /** Who may ask for the handshake of CloudEvents' webhooks. */
  origins?: readonly string[];
}

/** Options of a connection. */
export interface ConnectOptions<Config = Record<string, Json>> {
  /**
   * `wss:` and `ws:` WebSocket, `https:` and `http:` event stream, `tls:` and `tcp:` lines, with `{config.<key>}`;
   * or a function that gives it before each attempt.
   */
  url: string | ((ctx: InstanceContext<Config>) => Awaitable<string>);
  /** How long it may give no sign of life; 60 s for WebSocket. */
  idle?: Duration;
  /** Codes of the server's close, or HTTP statuses, that no other attempt will change. */
  fatal?: readonly number[];
  /** Where the waits between attempts begin, and where they end. */
  backoff?: { initial: Duration; cap: Duration };
  /** How long a connection must have lived before the waits begin anew; 30 s. */
  stable?: Duration;
  /** A frame that is sent again and again; see `Conn.heartbeat`. */
  heartbeat?: { every: Duration; frame: Json; expect?: Json };
  /** Frames that are sent first on every connection, with `{cursor}` and `{config.key}` filled in; at most 8. */
  greeting?: Json[];
  /** What a frame is; lines are text, the others JSON. Bytes come and go as base64. */
  frames?: "json" | "text" | "binary";
  /** What is offered above WebSocket. */
  subprotocols?: readonly string[];
  /** Of the request, with `{config.<key>}`. */
  headers?: Record<string, string>;
  /** What there may be one connection for; else the manifest's `unique` keys, else the instance. */
  credential?: string;
  /** Says how long handling one frame may take. */
  timeout?: Duration;
}

/** Is a kind's connection; while a frame is handled, the socket that it came from. */
export interface Conn {
  /**
   * Sends a frame; when this resolves, it is handed to the system.
   *
   * While there is no connection it rejects with `unavailable`: an outbound event that fails so waits,
   * and is not counted as failed.
   */
  send(frame: unknown): Promise<void>;
  /** Sends a frame again and again, `{cursor}` filled in; a missing answer is the connection's end. */
  heartbeat(every: Duration, frame: unknown, options?: { expect?: unknown }): void;
  /** Where to go on from: what was committed last. */
  readonly cursor: any;
}

/** Handles the frames of a connection. */
export type FrameHandler<T = any, Config = Record<string, Json>> = (frame: T, ctx: Context<T, Config>) => Awaitable<Outcome>;

/** When a poller asks, as whom, and for how long: one of `every`, `cron` and `at`. */
export interface PollOptions {
  /** How long between two ticks; `"0s"`: again as soon as the last batch is durable. */
  every?: Duration;
  /** When, as five or six cron fields. */
  cron?: string;
  /** Whose clocks, for `cron`: an IANA zone; else UTC. */
  tz?: string;
  /** Once, at this instant: RFC 3339 or a `Date`. */
  at?: string | Date;
  /** How much later than it is due each tick may come. */
  jitter?: Duration;
  /** What becomes of ticks that passed while nobody could act; `once` unless given. */
  misfire?: "once" | "skip" | "all";
  /** How long a tick may take; 1 min unless said. */
  timeout?: Duration;
  /** What no two instances ask with at once, a text with `{config.<key>}`; without it, the `unique` keys of `plugin.toml`, else nothing. */
  credential?: string;
  /** Whom to send a message when it pauses itself, is left alone or goes on again. */
  alert?: PollAlert;
}

/** Says whom to tell of a poller; texts may hold `{config.<key>}`. */
export interface PollAlert {
  /** The channel's kind; the plugin needs a grant to send to it. */
  kind: string;
  /** The conversation. */
  to: string;
  /** The channel's instance; else the one the conversation came in by, or the only one. */
  instance?: string;
}

/** As whom the core asks a server; texts may hold `{config.<key>}`, and go to the declared server only. */
export interface PollSource extends PollOptions {
  /** Is sent as `Authorization: Bearer`. */
  bearer?: string;
  /** User and password. */
  basic?: readonly [string, string];
  /** Further ones. */
  headers?: Record<string, string>;
}

/** Options of a poller of a feed. */
export interface FeedPollOptions extends PollSource {
  /** The address of an RSS, Atom or JSON Feed; may hold `{config.<key>}`. */
  feed: string;
  json?: undefined;
}

/** Options of a poller of a list. */
export interface JsonPollOptions extends PollSource {
  /** A list of JSON. */
  json: JsonList;
  feed?: undefined;
}

/** Declares a list of JSON items over HTTP. */
export interface JsonList {
  /** Where it is; may hold `{config.<key>}`. */
  url: string;
  /** Where in the answer the items are: a JSON pointer or names with dots; else the answer is the list. */
  itemsPath?: string;
  /** Where in an item its id is: text or a number. */
  idField: string;
  /** Where in an item the cursor is: text or a number that grows. */
  cursorField?: string;
  /** The query parameter that says from which cursor on. */
  sinceParam?: string;
  /** How pages follow each other; else there is one. */
  paginate?:
    | { by: "link" }
    | { by: "url"; path: string }
    | { by: "token"; path: string; param: string }
    | { by: "page"; param: string; start?: number };
  /** Most pages of one tick; 10 unless said, at most 100. */
  pagesMax?: number;
}

/** Is one item of a feed, whatever the feed's format. */
export interface FeedItem {
  /** The feed's own id of it; where there is none, a hash of link and title. */
  id: string;
  /** The title, as text. */
  title?: string;
  /** Where it can be read; absolute. */
  link?: string;
  /** A short form, as the feed has it: text or HTML, not cleaned. */
  summary?: string;
  /** The whole, as the feed has it: text or HTML, not cleaned. */
  content?: string;
  /** Who wrote it; those of the feed where it has none. */
  authors: string[];
  /** Its categories or tags. */
  categories: string[];
  /** When it appeared: RFC 3339, UTC. */
  published?: string;
  /** When it last changed: RFC 3339, UTC. */
  updated?: string;
  /** What belongs to it: sound, pictures, files. */
  enclosures: Enclosure[];
  /** Whether summary or content were cut. */
  truncated: boolean;
}

/** Is a file that belongs to an item of a feed. */
export interface Enclosure {
  /** Where it is; absolute. */
  url: string;
  /** Its media type, as the feed says. */
  mediaType?: string;
  /** Its length, as the feed says. */
  bytes?: number;
}

/** Handles an item, or is given the cursor: null at first, then what its last batch said. */
export type PollHandler<T, Config = Record<string, Json>> = (given: T, ctx: Context<Json, Config>) => Awaitable<Outcome>;

/** Options of an assembler. */
export interface AssembleOptions {
  /** The whole is made so long after the last part; 30 s unless said. */
  silence?: Duration;
  /** And so long after the first part, whatever else comes; 10 min unless said. */
  maxAge?: Duration;
  /** And at so many parts; 64 unless said, at most 200. */
  maxParts?: number;
  /** And at so many bytes of parts; 4 MiB unless said. */
  maxBytes?: number;
  /** Says how long the function may take. */
  timeout?: Duration;
}

/** Puts parts together. */
export type AssembleHandler<T = Json, Config = Record<string, Json>> = (
  parts: Part<T>[],
  ctx: Context<Json, Config>,
) => Awaitable<Outcome>;

/** Handles a provider's requests. */
export type WebhookHandler<Config = Record<string, Json>> = (
  request: WebhookRequest,
  ctx: Context<Json, Config>,
) => Awaitable<Outcome>;

/** Options of a timer's handler: a schedule sets the timer at each start, unless it is as it was. */
export interface TimerOptions extends Omit<Schedule, "keep"> {
  /** Says how long handling one event may take. */
  timeout?: Duration;
}

/** Handles the events of a timer. */
export type TimerHandler<Config = Record<string, Json>> = (
  timer: TimerEvent,
  ctx: Context<Json, Config>,
) => Awaitable<Outcome>;

/** Is a request that the daemon verified and stored. */
export declare class WebhookRequest {
  constructor(request: Json);
  /** The provider's id of it, else the event's. */
  readonly id: string;
  /** Which of the kind's webhooks it came by, where they have names. */
  readonly name: string | undefined;
  /** HTTP method, in capitals. */
  readonly method: string;
  /** The path it was sent to. */
  readonly path: string;
  /** What stands after `?`. */
  readonly query: string;
  /** Headers by their names in small letters; several of one name are joined by `, `. */
  readonly headers: Record<string, string>;
  /** The exact bytes of the body. */
  readonly body: Buffer;
  /** The body as text; a request whose body is none becomes a dead letter. */
  readonly text: string;
  /** Reads the body as JSON; a request whose body is none becomes a dead letter. */
  json<T = any>(): T;
}

/** What a webhook's provider gets, where it waits. */
export interface WebhookAnswer {
  /** HTTP status, from 200 to 599. */
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

/** When a timer is due, with what it gives back: one of `after`, `every`, `at` and `cron`. */
export interface Schedule {
  /** Once, this long from now. */
  after?: Duration;
  /** Again and again, with this interval, at least 1 s. */
  every?: Duration;
  /** Once, at this instant: RFC 3339 or a `Date`. */
  at?: string | Date;
  /** Where the clocks match: 5 or 6 fields, or `@hourly` and its like. */
  cron?: string;
  /** Whose clocks, for `cron`: an IANA zone; else UTC. */
  tz?: string;
  /** How much later than it is due each event may come. */
  jitter?: Duration;
  /** What becomes of due times that passed while nobody could act; `once` unless given. */
  misfire?: "once" | "skip" | "all";
  /** What the events bring. */
  data?: unknown;
  /** Which conversation the events belong to; else `timer:<name>`. */
  session?: string;
  /** Leaves a timer that was set with the same words as it is. */
  keep?: boolean;
}

/** One change of a timer in a batch. */
export type TimerChange = ({ op: "set"; name: string } & Schedule) | { op: "cancel"; name: string };

/** A due time, as the handler of a timer gets it. */
export interface TimerEvent {
  /** The timer. */
  name: string;
  /** When it was due, RFC 3339. */
  dueAt: string;
  /** What it was set with. */
  data: any;
  /** Due times before this one that are not made up for. */
  missed: number;
}

/** A timer that is set. */
export interface TimerEntry {
  /** Its name. */
  name: string;
  /** When it is due next, RFC 3339. */
  dueAt: string;
  /** An event of it is not settled yet. */
  running: boolean;
  /** How it was set, in the words of the contract. */
  set: Record<string, Json>;
}

/** Reaches the timers of an instance; the broker keeps them. */
export interface Timers {
  /** Sets a timer, in place of one of the same name. */
  set(name: string, schedule: Schedule): Promise<{ dueAt?: string; kept: boolean }>;
  /** Cancels a timer; false where there was none. What it gave before still comes. */
  cancel(name: string): Promise<boolean>;
  /** Gives the timers whose names begin with `prefix`, by name. */
  list(prefix?: string): Promise<TimerEntry[]>;
}
