// Generated from contract/schemas by `cargo schemas`; what is changed here is lost.
/**
 * Standard payloads and the event as they stand on the wire.
 *
 * @packageDocumentation
 */

import type { Json } from "./data.js";

/** What a channel can do, and how much of it. */
export interface ChannelFeatures {
  /** Longest text in characters. */
  text_chars_max?: number | null;
  /** Editing a sent message. */
  edits?: string | null;
  /** Deleting a sent message. */
  deletes?: string | null;
  /** Reactions. */
  reactions?: string | null;
  /** Threads inside a conversation. */
  threads?: string | null;
  /** Showing that somebody types. */
  typing?: string | null;
  /** Telling that a message was delivered or read. */
  receipts?: string | null;
  /** Polls. */
  polls?: string | null;
  /** Most answers of a poll. */
  poll_options_max?: number | null;
  /** Passing on messages. */
  forwards?: string | null;
  /** Cards with something to press. */
  cards?: string | null;
  /** Files. */
  files?: FileFeatures | null;
  /** Types of parts beside `text`, `chat.*` allowed; others are refused. */
  parts?: string[] | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** What a channel can do with files. */
export interface FileFeatures {
  /** Sending files at all. */
  level?: string | null;
  /** Largest file. */
  bytes_max?: number | null;
  /** Accepted media types, `image/*` allowed. */
  media_types?: string[] | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Is one dead letter. */
export interface DeadLetter {
  /** Its id. */
  id: string;
  /** Whose delivery it was. */
  subscription: string;
  /** Number of the event in the store; 0 for what never was an event. */
  seq?: number;
  /** Why it was given up. */
  reason: DeadReason;
  /** The code that the handler gave with a reject. */
  code?: string | null;
  /** How often it was handed over. */
  attempts?: number;
  /** The first error. */
  first_error?: HandlerError | null;
  /** The last error. */
  last_error?: HandlerError | null;
  /** How the process ended that had it. */
  exit?: Exit | null;
  /** Last lines of stderr, redacted, at most 4 KiB. */
  stderr_tail?: string | null;
  /** Version of the plugin that failed. */
  plugin_version?: string | null;
  /** When, RFC 3339. */
  dead_at: string;
  /** The envelope, or `null` once it was cut to stay within the quota. */
  event?: Json;
  /** Where something came from that never was an event. */
  origin?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/**
 * - `rejected`: The handler said never.
 * - `delivery_limit`: Too many counted failures.
 * - `too_old`: Its retries took too long.
 * - `crashed`: It ended the process too often.
 * - `expired`: It was to be delivered before an instant that has passed.
 * - `removed`: Its subscription was removed, or selects it no longer.
 * - `filed`: A peer filed it by `dead_letter.put`.
 */
export type DeadReason = "rejected" | "delivery_limit" | "too_old" | "crashed" | "expired" | "removed" | "filed";

/** Describes what went wrong in a handler. */
export interface HandlerError {
  /** Type of the error in the handler's language. */
  type?: string;
  /** Its message. */
  message?: string;
  /** Its traceback. */
  traceback?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Says how a process ended. */
export interface Exit {
  /** Its exit status. */
  code?: number | null;
  /** The signal that ended it. */
  signal?: number | null;
  /** The limit that ended it, e.g. `memory`. */
  limit?: string | null;
  /** Last lines of its stderr, redacted, at most 4 KiB. */
  stderr_tail?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** What became of an outbound message (`plugin.delivery.*`). */
export interface Receipt {
  /** `queued`, `sent`, `delivered`, `read`, `failed` or `unknown`. */
  state: string;
  /** The channel's own id of the message. */
  provider_id?: string | null;
  /** Which piece, where a message was sent in several. */
  part?: ReceiptPart | null;
  /** Why it failed. */
  error?: ReceiptError | null;
  /** The features in whose place text was sent, since the channel does not have them. */
  degraded?: string[] | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Which of how many pieces a receipt speaks of. */
export interface ReceiptPart {
  /** Number of the piece, from 1. */
  n: number;
  /** Number of pieces. */
  of: number;
  /** What is not known here. */
  [member: string]: Json;
}

/** Why an outbound message failed. */
export interface ReceiptError {
  /** Code from the catalogue, or the channel's own. */
  code: string;
  /**
   * What kind of failure: `rejected`, `rate_limited`, `unreachable`, `not_supported` or another
   * word.
   */
  class?: string | null;
  /** Whether sending it again may help. */
  retryable?: boolean | null;
  /** Text for people. */
  message?: string | null;
  /** What the channel cannot do, of the class `not_supported`: a feature as it declares them. */
  feature?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Is the `error` member of a response. */
export interface RpcError {
  /** JSON-RPC number. */
  code: number;
  /** What people read. */
  message?: string;
  /** What programs read. */
  data?: ErrorData | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Is the `data` member of an error. All of it is optional in input, for foreign peers. */
export interface ErrorData {
  /** Text form of a [`Code`], perhaps of a newer version. */
  code?: string | null;
  /** Whether the same request may succeed later. */
  retryable?: boolean | null;
  /** Milliseconds after which a retry makes sense. */
  retry_after_ms?: number | null;
  /** Position of the guilty item. */
  index?: number | null;
  /** Data beyond the code; of a foreign peer the whole data. */
  detail?: Json;
  /** What is not known here. */
  [member: string]: Json;
}

/** Is an event as the broker delivers it. The payload stays text. */
export interface Event {
  /** Unique per source. */
  id: string;
  /** When it happened, RFC 3339. */
  timestamp: string;
  /** Where it was published. */
  topic: string;
  /** Who published it: `<plugin>/<instance>`, `client:<name>` or `hook:<kind>/<instance>`. */
  source: string;
  /** Its conversation. */
  session_id?: string | null;
  /** What happened: any JSON. */
  payload?: Json;
  /** Id of the event that this answers. */
  correlation_id?: string | null;
  /** The event whose handling produced this one, `<source>|<id>`. */
  causation_id?: string | null;
  /** W3C trace context. */
  traceparent?: string | null;
  /** When it loses its use, RFC 3339. */
  expires_at?: string | null;
  /** Blobs that it keeps alive. */
  blobs?: string[];
  /** What else is known about it. */
  metadata?: { [member: string]: Json };
  /** What is not known here. */
  [member: string]: Json;
}

/** What came in from a channel (`plugin.inbound.*`). */
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
  conversation?: Conversation | null;
  /** Who said it. */
  sender?: Sender | null;
  /** The message it answers. */
  reply_to?: string | null;
  /** The message it replaces. */
  edit_of?: string | null;
  /** The message that was deleted. */
  deleted?: string | null;
  /** The reaction, where it is one. */
  reaction?: Reaction | null;
  /** What was pressed or chosen in a message, where it is that. */
  ui_action?: UiAction | null;
  /** Somebody types (`true`), or no longer (`false`); stands alone. */
  typing?: boolean | null;
  /** When it was said, RFC 3339. */
  sent_at?: string | null;
  /** Opaque: where the conversation came from (a start link, a campaign). */
  referrer?: Json;
  /** The channel's own data, under the channel's name. */
  raw?: { [member: string]: Json } | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** A piece of content; a `type` that is not known is kept as it is. */
export interface MessagePart {
  /**
   * What it is: `text`, `image`, `audio`, `video`, `file`, `location`, `quote`, `mention`,
   * `forward`, `poll`, `card`; another one is a channel's own, `<kind>.<word>`.
   */
  type: string;
  /** Text of a text part, a quote, a mention or a forward; caption of a medium. */
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
  /** Who is mentioned or quoted; who wrote what is forwarded. */
  user?: Sender | null;
  /** Which message is quoted or forwarded. */
  message_id?: string | null;
  /** Where what is forwarded was said. */
  conversation?: Conversation | null;
  /** The question, of a poll. */
  poll?: MessagePoll | null;
  /** What is shown and can be pressed, of a card. */
  card?: Card | null;
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

/** A question with answers to choose from. */
export interface MessagePoll {
  /** What is asked. */
  question: string;
  /** The answers, in order. */
  options: Choice[];
  /** Whether more than one may be chosen. */
  multiple?: boolean | null;
  /** Until when it is open, RFC 3339. */
  closes_at?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** One answer of a poll, or one entry of a card's list. */
export interface Choice {
  /** What people read. */
  text: string;
  /** What comes back when it is chosen; its number from 0, as text, where absent. */
  id?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Something to look at with something to press. */
export interface Card {
  /** Its heading. */
  title?: string | null;
  /** What it says. */
  text?: string | null;
  /** What can be pressed or chosen, in order. */
  actions?: CardAction[] | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** A button of a card, or a list to choose from. */
export interface CardAction {
  /** What comes back in `ui_action.id`. */
  id: string;
  /** What people read. */
  label: string;
  /** What comes back in `ui_action.value` when the button is pressed. */
  value?: string | null;
  /** An address that is opened; nothing comes back. */
  url?: string | null;
  /** The entries, of a list to choose from. */
  options?: Choice[] | null;
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

/** Something that was pressed or chosen in a message. */
export interface UiAction {
  /** The button or the list; `vote` of a poll. */
  id: string;
  /** The message that shows it. */
  target?: string | null;
  /** The value of the button, or the ids of what is chosen now, as a list. */
  value?: Json;
  /** What is not known here. */
  [member: string]: Json;
}

/** Payload of `plugin.lifecycle.<plugin>.<instance>`. */
export interface LifecyclePayload {
  /** The state. */
  state: InstanceState;
  /** Why. */
  reason?: string;
  /** Since when, RFC 3339. */
  since: string;
  /** Which try in a row failed or is made, of a connection. */
  attempt?: number | null;
  /** When the next one is made, or the next start, RFC 3339. */
  next_try?: string | null;
  /** What it last told of its start, until that has ended. */
  progress?: ProgressParams | null;
  /** The current activation. */
  generation?: number | null;
  /** How its process ended. */
  exit?: Exit | null;
  /** How often it was restarted. */
  restarts?: number | null;
  /** What it published in vain. */
  rejected?: Rejected | null;
  /** What is not known here. */
  [member: string]: Json;
}

/**
 * - `starting`: Its process or link is coming up.
 * - `standby`: Initialized, nothing opened outside.
 * - `ready`: It serves.
 * - `degraded`: It serves with restrictions.
 * - `needs_auth`: A person must log in.
 * - `paused`: It takes no new work.
 * - `draining`: It finishes its work.
 * - `backing_off`: It waits for its next start.
 * - `stopped`: It was stopped.
 * - `failed`: It will not be started again by itself.
 * - `disabled`: The operator switched it off.
 * - `frozen`: Reserved.
 */
export type InstanceState = "starting" | "standby" | "ready" | "degraded" | "needs_auth" | "paused" | "draining" | "backing_off" | "stopped" | "failed" | "disabled" | "frozen";

/** Parameters of `instance.progress`; as part of a status, what the instance last told of its start. */
export interface ProgressParams {
  /** How much is done. */
  done?: number | null;
  /** Of how much. */
  total?: number | null;
  /** What happens. */
  message?: string;
  /** Data for a user interface, e.g. the content of a QR code. */
  data?: Json;
  /** What is not known here. */
  [member: string]: Json;
}

/** Says which publishes of an instance were refused. */
export interface Rejected {
  /** Text form of the error code. */
  code: string;
  /** The topic of the last one. */
  topic?: string;
  /** How many since the last report. */
  count: number;
  /** What is not known here. */
  [member: string]: Json;
}

/** What is to be sent to a channel (`plugin.outbound.*`). */
export interface OutboundMessage {
  /** The text. */
  text?: string | null;
  /** The text for a channel that cannot do what the rest asks for; without it that is refused. */
  alt_text?: string | null;
  /** Content beside the text, in order. */
  parts?: MessagePart[] | null;
  /** Where to say it; the session's conversation where absent. */
  conversation?: Conversation | null;
  /** The message to answer. */
  reply_to?: string | null;
  /** The message to replace. */
  edit_of?: string | null;
  /** The message to delete. */
  deleted?: string | null;
  /** The reaction to set or take back. */
  reaction?: Reaction | null;
  /** Shows that somebody types (`true`), or no longer (`false`); stands alone. */
  typing?: boolean | null;
  /** Opaque: handed back by the channel. */
  referrer?: Json;
  /** The channel's own data, under the channel's name. */
  raw?: { [member: string]: Json } | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Payload of a timer's event, on `plugin.timer.<plugin>.<instance>`. */
export interface TimerFired {
  /** The timer. */
  name: string;
  /** When it was due, RFC 3339. */
  due_at: string;
  /** What it was set with; `null` where that was nothing. */
  data?: Json;
  /** Due times before this one that are not made up for. */
  missed?: number;
  /** What is not known here. */
  [member: string]: Json;
}

/** Payload of `plugin.tool.<plugin>.<tool>.reply`: what a call made by an event came to. */
export interface ToolReply {
  /** Structured output; of a stream all of it. */
  output?: Json;
  /** Parts for people and models. */
  content?: ContentPart[] | null;
  /** Why there is no output. */
  error?: ToolReplyError | null;
  /** What is not known here. */
  [member: string]: Json;
}

/** Is one part of a result for people and models, beside the structured output. */
export interface ContentPart {
  /** What it holds. */
  type: ContentKind;
  /** The text. */
  text?: string | null;
  /** Bytes as base64. */
  data?: string | null;
  /** Bytes as a blob, `sha256:…`. */
  blob?: string | null;
  /** Media type of the bytes or the text. */
  media_type?: string | null;
  /** Address of a resource. */
  uri?: string | null;
  /** Name of a resource, for people. */
  name?: string | null;
  /** What is not known here. */
  [member: string]: Json;
}

/**
 * - `text`: Text, in `text`.
 * - `image`: An image, in `data` or `blob`.
 * - `audio`: Sound, in `data` or `blob`.
 * - `resource`: Something with an address, in `uri`, with `text`, `data` or `blob` if it is embedded.
 */
export type ContentKind = "text" | "image" | "audio" | "resource";

/** Is the error of a [`ToolReply`]. */
export interface ToolReplyError {
  /** Text form of a code of the catalogue. */
  code: string;
  /** What people read. */
  message?: string;
  /** Whether the same call may succeed later. */
  retryable?: boolean;
  /** Milliseconds after which a retry makes sense. */
  retry_after_ms?: number | null;
  /** Data beyond the code. */
  detail?: Json;
  /** What is not known here. */
  [member: string]: Json;
}
