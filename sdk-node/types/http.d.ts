/** Calls to servers outside: {@link Http}. @packageDocumentation */

import type { BlobRef, Duration } from "./data.js";
import { TrunklineError } from "./data.js";

/**
 * Says that a call outside failed: an answer of 400 and up, or none. Left to itself, it settles what is
 * being handled: what the server told to wait for waits and does not count, what may go better later backs
 * off, the rest is final.
 */
export declare class HttpError extends TrunklineError {
  /** Gives the status of the answer. */
  readonly status: number | undefined;
  /** Says how far the call came; `ambiguous`: sent, but not answered. */
  readonly class: "not_sent" | "ambiguous" | "answered";
  /** Gives where the call went, without its query and without what came from the config. */
  readonly url: string;
  /** Gives the beginning of the answer's body. */
  readonly body: string | undefined;
}

/** How a call to a server is made. Nothing in it is filled in from the config. */
export interface HttpOptions {
  /** A JSON body. */
  json?: unknown;
  /** A form as the body: texts, numbers, booleans, or lists of these; null is left out. */
  form?: Record<string, unknown>;
  /** Any other body; say what it is with the header `content-type`. */
  body?: string | Uint8Array;
  /** What is added to the query, as for a form. */
  query?: Record<string, unknown>;
  /** Headers. */
  headers?: Record<string, string>;
  /** How long one try may take (30 s). */
  timeout?: Duration;
  /** Sent as `Idempotency-Key`: the server does it once, so the call is tried again as a GET is. */
  idempotencyKey?: string;
  /** Gives the call up. */
  signal?: AbortSignal;
}

/** How a download is made. Nothing in it is filled in from the config. */
export interface DownloadOptions {
  /** What is added to the query, as for a form. */
  query?: Record<string, unknown>;
  /** Headers. */
  headers?: Record<string, string>;
  /** How long one try may take (10 min). */
  timeout?: Duration;
  /** The most bytes, unpacked (100 MiB); more is an error that is final. */
  maxBytes?: number;
  /** What it is, whatever the server says. */
  mediaType?: string;
  /** Gives the download up. */
  signal?: AbortSignal;
}

/** How blobs are sent. Nothing in it is filled in from the config. */
export interface UploadOptions {
  /** Another method than POST. */
  method?: string;
  /** More fields of the form, before the blobs; a form is `multipart/form-data`. */
  form?: Record<string, unknown>;
  /** What is added to the query, as for a form. */
  query?: Record<string, unknown>;
  /** Headers; `content-type` is the blob's unless given. */
  headers?: Record<string, string>;
  /** How long one try may take (10 min). */
  timeout?: Duration;
  /** Sent as `Idempotency-Key`: the server does it once, so the call is tried again as a GET is. */
  idempotencyKey?: string;
  /** Gives the call up. */
  signal?: AbortSignal;
}

/** A blob that is the body, or fields of a form, each a blob, or the name of its file and the blob. */
export type Uploaded = BlobRef | string | Record<string, BlobRef | string | [fileName: string, blob: BlobRef | string]>;

/** Which server, and as whom. `{config.key}` in it is filled in from the instance's config. */
export interface HttpServerOptions {
  /** A token, sent as `Authorization: Bearer`. */
  bearer?: string;
  /** User and password. */
  basic?: [user: string, password: string];
  /** Headers of each call. */
  headers?: Record<string, string>;
  /** Calls public addresses only: for URLs that come from outside. */
  guard?: boolean;
}

/** Is what a server answered, below 400. */
export declare class Response {
  private constructor();
  /** Gives the status. */
  readonly status: number;
  /** Gives the headers by their names in small letters; several of one name are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** Says where the resource is from now on, when the server said so by permanent redirects. */
  readonly movedTo: string | undefined;
  /** Gives the body as text. */
  text(): string;
  /** Reads the body as JSON; integers beyond 2^53 are `bigint`. Throws `invalid_payload`. */
  json<T = any>(): T;
  /** Gives the body's bytes. */
  bytes(): Buffer;
}

/** Makes calls to one server, as one caller. A GET, and a call with a key, is tried again in time. */
export interface HttpAt {
  /** Gets what is at a path. Each of these throws {@link HttpError} for an answer of 400 and up, and for none. */
  get(path?: string, options?: HttpOptions): Promise<Response>;
  /** Posts to a path. */
  post(path?: string, options?: HttpOptions): Promise<Response>;
  /** Puts to a path. */
  put(path?: string, options?: HttpOptions): Promise<Response>;
  /** Patches what is at a path. */
  patch(path?: string, options?: HttpOptions): Promise<Response>;
  /** Deletes what is at a path. */
  delete(path?: string, options?: HttpOptions): Promise<Response>;
  /** Makes what is at a path a blob, piece by piece; tried again as a GET is. */
  download(path?: string, options?: DownloadOptions): Promise<BlobRef>;
  /**
   * Posts a blob to a path, piece by piece: as the body, or as fields of a form of parts.
   *
   * @example
   * await api.upload("/files", photo, { method: "PUT" });
   * await api.upload("/sendPhoto", { photo: ["cat.jpg", photo] }, { form: { chat_id: 7 } });
   */
  upload(path: string, blob: Uploaded, options?: UploadOptions): Promise<Response>;
  /** Makes a call of any method. */
  request(method: string, path?: string, options?: HttpOptions): Promise<Response>;
}

/** Makes calls to servers outside; each call by itself takes a whole URL. */
export interface Http extends HttpAt {
  /** Begins calls to a server. `{config.key}` in the base and the options is filled in from the config. */
  at(base: string, options?: HttpServerOptions): HttpAt;
}
