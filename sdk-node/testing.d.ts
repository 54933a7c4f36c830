/**
 * Tests against the real core, in memory: no process, no disk, no network, and a clock that moves
 * only when it is told.
 *
 * @packageDocumentation
 */

import type {
  Blobs, CallOptions, Client, Duration, Event, Json, Plugin, Published, PublishOptions, ScopedKv, SendOptions, Sending, ToolCall, payloads,
} from "./index.js";

/** What a test of `node:test` (or another runner with `after`) gives. */
export interface TestContext {
  /** Runs something when the test is over. */
  after(fn: () => unknown): unknown;
}

/** How a test broker begins. */
export interface StartOptions {
  /** Gives the instances their config. */
  config?: Record<string, unknown>;
  /** Gives the values of secrets that the config names as `{ $secret: name }`. */
  secrets?: Record<string, string>;
  /** Runs these instances instead of `default` alone. */
  instances?: string[];
  /** Takes the grants of this `plugin.toml`, and the defaults of its config, as the daemon would. Without one, the plugin may do what its handlers need, publish `agent.>`, and call every tool. */
  manifest?: string;
}

/** A dead letter, as the broker keeps it. */
export type DeadLetter = payloads.DeadLetter;

/** What a webhook's provider gets. */
export interface WebhookAnswered {
  /** 200 once the request is durable, 202 where the plugin was too slow to answer itself. */
  readonly status: number;
  /** The plugin's own headers. */
  readonly headers: Record<string, string>;
  /** The plugin's own body. */
  readonly body: string | null;
  /** The request's id was known: it was not stored again. */
  readonly duplicate: boolean;
}

/** A provider's request. */
export interface WebhookSent {
  /** The body, as JSON. */
  json?: unknown;
  /** The body, as a form: texts and numbers. */
  form?: Record<string, unknown>;
  /** The body, where it is something else. */
  body?: string | Uint8Array;
  headers?: Record<string, string>;
  /** Which of the kind's webhooks. */
  name?: string;
  /** The provider's id; the same twice is one request. */
  id?: string;
  /** Another instance than `default`. */
  instance?: string;
  /** What stands after `?`. */
  query?: string;
  /** Requests of one session are handled in order. */
  session?: string;
}

/** Is a request that a plugin sent. */
export interface HttpSeen {
  readonly method: string;
  /** The whole address. */
  readonly url: string;
  readonly path: string;
  readonly query: Record<string, string>;
  /** The headers, their names in small letters. */
  readonly headers: Record<string, string>;
  /** The body's bytes. */
  readonly body: Buffer;
  /** The body as a form. */
  readonly form: Record<string, string>;
  /** Reads the body as JSON. */
  json<T = any>(): T;
}

/** Is what a server answers to some requests, one after the other; the last answer stays. */
export interface HttpRoute {
  /** Answers with a status. */
  reply(status: number, options?: { json?: unknown; body?: string | Uint8Array; headers?: Record<string, string> }): HttpRoute;
  /** Takes the request, and never answers. */
  lose(): HttpRoute;
  /** Lets nobody connect. */
  refuse(): HttpRoute;
  /** Gives the requests that came, oldest first. */
  readonly requests: HttpSeen[];
}

/** Is a server outside, as a test plays it. */
export interface HttpFake {
  /** Begins the answers to some requests: `*` is any method, and any text in a path. Where several fit, the one added last answers. */
  on(method: string, path: string): HttpRoute;
  /** Lets requests to this server out, for a test that runs one of its own. */
  passThrough(): void;
}

/** Is how a connection ended. */
export interface SocketClosed {
  /** The code of a WebSocket. */
  readonly code: number | null;
  readonly reason: string;
}

/** Is a connection of the plugin, from the other side. */
export interface SocketConn {
  /** The address that the plugin asked for. */
  readonly url: string;
  /** The headers of its request, their names in small letters: of an event stream, `last-event-id` is what it goes on from. Lines have none. */
  readonly headers: Record<string, string>;
  /**
   * Sends a frame: JSON, a text for frames of text and for lines, base64 for frames of bytes. On an event
   * stream it is what the handler gets, `{ event, id, data }`, with `retry` in milliseconds besides, or else
   * the data alone.
   */
  send(frame: unknown): void;
  /**
   * Waits for a frame of the plugin, and gives it: one that has at least these members, is this text, or that a
   * function says yes to. Each frame is given once. The clock moves as long as none comes, at most by `within` (10 s).
   *
   * @throws `AssertionError` when none came; it says what came instead.
   */
  expect<T = any>(frame: (frame: any) => boolean, options?: { within?: Duration }): Promise<T>;
  expect<T = any>(frame: unknown, options?: { within?: Duration }): Promise<T>;
  /** Closes the connection: a WebSocket with this code (1000) and reason. */
  close(code?: number, reason?: string): void;
  /** Falls silent: nothing arrives any more, and nothing is answered. */
  stall(): void;
  /** Waits for the plugin to close the connection. */
  expectClosed(options?: { within?: Duration }): Promise<SocketClosed>;
}

/** Is a server of connections outside, as a test plays it. A plugin that connects to it waits until its connection is accepted. */
export interface SocketFake {
  /** Waits for the plugin's next connection, and accepts it. The clock moves as long as none comes, at most by `within` (10 s). */
  accept(options?: { within?: Duration }): Promise<SocketConn>;
}

/** Is a broker in memory with a plugin on it. Waits move its clock; handlers see real time. */
export declare class TestBroker implements AsyncDisposable {
  private constructor();
  /** Starts a broker with a plugin; it is stopped when the test is over. */
  static start(test: TestContext, plugin: Plugin<any>, options?: StartOptions): Promise<TestBroker>;
  /** Starts a broker with a plugin; stop it yourself. */
  static start(plugin: Plugin<any>, options?: StartOptions): Promise<TestBroker>;
  /** Publishes an event. */
  publish(topic: string, payload: unknown, options?: PublishOptions): Promise<Published>;
  /** Sends a message through a channel of the plugin. */
  send(kind: string, message: unknown, options?: SendOptions): Promise<Sending>;
  /** Calls a tool of the plugin, by its full name. */
  callTool<T = Json>(name: string, args?: unknown, options?: CallOptions): ToolCall<T>;
  /** Gives the state store of the test's own client. */
  readonly kv: ScopedKv;
  /** Gives the broker's blobs, as the test has them. */
  readonly blob: Blobs;
  /**
   * Waits for an event on a topic, whose payload has at least these members, and gives it. Each
   * event is given once. The clock moves as long as nothing comes, at most by `within` (10 s).
   *
   * @throws `AssertionError` when none came; it says what came instead.
   */
  expectPublished<T = Json>(filter: string, payload?: unknown, options?: { within?: Duration }): Promise<Event<T>>;
  /**
   * Makes sure that no such event comes while the clock moves by `within` (10 s).
   *
   * @throws `AssertionError` when one came.
   */
  expectNothing(filter: string, payload?: unknown, options?: { within?: Duration }): Promise<void>;
  /** Sends a provider's request to a webhook, signed with the secret of the config. */
  webhook(kind: string, request?: WebhookSent): Promise<WebhookAnswered>;
  /** Moves the clock, and lets everything happen that is due. */
  advance(by: Duration): Promise<void>;
  /** Waits until everything that was sent has been handled; the clock stands still. */
  settle(): Promise<void>;
  /** Gives the dead letters, oldest first. */
  deadLetters(): Promise<DeadLetter[]>;
  /** Kills the broker and starts it again on what was durable; plugins start again with it. */
  restart(): Promise<void>;
  /** Connects an agent, with its handlers. */
  attach(client: Client): Promise<Client>;
  /**
   * Gives a server outside, whose answers are the test's. Nothing leaves the process: a call that no answer
   * was given for fails the test.
   */
  http(server: string): HttpFake;
  /**
   * Gives a server of connections (`wss:`, `https:`, `tls:`, `tcp:`) outside, as the test plays it; a path is the start
   * of the paths it serves. Nothing leaves the process: a plugin that connects to where nobody plays, but on this
   * machine, fails the test as soon as the clock moves.
   */
  socket(url: string): SocketFake;
  /** Kills the plugin's process at the next event that it handles; it is started again. */
  kill(where: { at: "in_handler" | "before_commit" | "after_commit" }): void;
  /** Lets a fault happen the next so many times (1). */
  fault(fault: "drop_ack" | "duplicate" | "link_lost" | "storage_full", options?: { times?: number }): void;
  /** Ends the broker and the plugin. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What was seen after a step of a scenario; the last one is what was kept and given up. */
export interface Seen {
  [member: string]: Json;
}

/**
 * Plays a scenario against a plugin; gives the transcript, which is what the file says. A scenario is a text of
 * JSON: settings, what servers outside answer, steps with what is seen after each, and what is kept and given up
 * in the end. The same text is played in every language.
 *
 * @throws `AssertionError` where something differs; `invalid_arguments` for what is no scenario.
 */
export declare function play(plugin: Plugin, scenario: string): Promise<Seen[]>;
