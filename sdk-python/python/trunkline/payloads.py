# Generated from contract/schemas by `cargo schemas`; what is changed here is lost.
"""Standard payloads and the event as they stand on the wire, for type checkers.

A member may be absent, and there may be members that are not known here. As the
annotation of a handler's first parameter each of them reads the payload, and a payload
that does not fit is rejected.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypedDict

__all__ = [
    "Card",
    "CardAction",
    "ChannelFeatures",
    "Choice",
    "ContentKind",
    "ContentPart",
    "Conversation",
    "DeadLetter",
    "DeadReason",
    "ErrorData",
    "Event",
    "Exit",
    "FileFeatures",
    "HandlerError",
    "InboundMessage",
    "InstanceState",
    "LifecyclePayload",
    "MessagePart",
    "MessagePoll",
    "OutboundMessage",
    "ProgressParams",
    "Reaction",
    "Receipt",
    "ReceiptError",
    "ReceiptPart",
    "Rejected",
    "RpcError",
    "Sender",
    "TimerFired",
    "ToolReply",
    "ToolReplyError",
    "UiAction",
]


class ChannelFeatures(TypedDict, total=False):
    """What a channel can do, and how much of it."""

    text_chars_max: int | None
    """Longest text in characters."""
    edits: str | None
    """Editing a sent message."""
    deletes: str | None
    """Deleting a sent message."""
    reactions: str | None
    """Reactions."""
    threads: str | None
    """Threads inside a conversation."""
    typing: str | None
    """Showing that somebody types."""
    receipts: str | None
    """Telling that a message was delivered or read."""
    polls: str | None
    """Polls."""
    poll_options_max: int | None
    """Most answers of a poll."""
    forwards: str | None
    """Passing on messages."""
    cards: str | None
    """Cards with something to press."""
    files: FileFeatures | None
    """Files."""
    parts: list[str] | None
    """Types of parts beside `text`, `chat.*` allowed; others are refused."""


class FileFeatures(TypedDict, total=False):
    """What a channel can do with files."""

    level: str | None
    """Sending files at all."""
    bytes_max: int | None
    """Largest file."""
    media_types: list[str] | None
    """Accepted media types, `image/*` allowed."""


class _DeadLetter(TypedDict):
    id: str
    """Its id."""
    subscription: str
    """Whose delivery it was."""
    reason: DeadReason
    """Why it was given up."""
    dead_at: str
    """When, RFC 3339."""


class DeadLetter(_DeadLetter, total=False):
    """Is one dead letter."""

    seq: int
    """Number of the event in the store; 0 for what never was an event."""
    code: str | None
    """The code that the handler gave with a reject."""
    attempts: int
    """How often it was handed over."""
    first_error: HandlerError | None
    """The first error."""
    last_error: HandlerError | None
    """The last error."""
    exit: Exit | None
    """How the process ended that had it."""
    stderr_tail: str | None
    """Last lines of stderr, redacted, at most 4 KiB."""
    plugin_version: str | None
    """Version of the plugin that failed."""
    event: Any
    """The envelope, or `null` once it was cut to stay within the quota."""
    origin: str | None
    """Where something came from that never was an event."""


DeadReason: TypeAlias = Literal[
    "rejected",
    "delivery_limit",
    "too_old",
    "crashed",
    "expired",
    "removed",
    "filed",
]
"""- ``rejected``: The handler said never.
- ``delivery_limit``: Too many counted failures.
- ``too_old``: Its retries took too long.
- ``crashed``: It ended the process too often.
- ``expired``: It was to be delivered before an instant that has passed.
- ``removed``: Its subscription was removed, or selects it no longer.
- ``filed``: A peer filed it by `dead_letter.put`.
"""


class HandlerError(TypedDict, total=False):
    """Describes what went wrong in a handler."""

    type: str
    """Type of the error in the handler's language."""
    message: str
    """Its message."""
    traceback: str | None
    """Its traceback."""


class Exit(TypedDict, total=False):
    """Says how a process ended."""

    code: int | None
    """Its exit status."""
    signal: int | None
    """The signal that ended it."""
    limit: str | None
    """The limit that ended it, e.g. `memory`."""
    stderr_tail: str | None
    """Last lines of its stderr, redacted, at most 4 KiB."""


class _Receipt(TypedDict):
    state: str
    """`queued`, `sent`, `delivered`, `read`, `failed` or `unknown`."""


class Receipt(_Receipt, total=False):
    """What became of an outbound message (`plugin.delivery.*`)."""

    provider_id: str | None
    """The channel's own id of the message."""
    part: ReceiptPart | None
    """Which piece, where a message was sent in several."""
    error: ReceiptError | None
    """Why it failed."""
    degraded: list[str] | None
    """The features in whose place text was sent, since the channel does not have them."""


class ReceiptPart(TypedDict):
    """Which of how many pieces a receipt speaks of."""

    n: int
    """Number of the piece, from 1."""
    of: int
    """Number of pieces."""


class _ReceiptError_Required(TypedDict):
    code: str
    """Code from the catalogue, or the channel's own."""


_ReceiptError_Optional = TypedDict(
    "_ReceiptError_Optional",
    {
        "class": "str | None",
        "retryable": "bool | None",
        "message": "str | None",
        "feature": "str | None",
    },
    total=False,
)


class ReceiptError(_ReceiptError_Required, _ReceiptError_Optional):
    """Why an outbound message failed.

    - ``class``: What kind of failure: `rejected`, `rate_limited`, `unreachable`, `not_supported` or another
    word.
    """


class _RpcError(TypedDict):
    code: int
    """JSON-RPC number."""


class RpcError(_RpcError, total=False):
    """Is the `error` member of a response."""

    message: str
    """What people read."""
    data: ErrorData | None
    """What programs read."""


class ErrorData(TypedDict, total=False):
    """Is the `data` member of an error. All of it is optional in input, for foreign peers."""

    code: str | None
    """Text form of a [`Code`], perhaps of a newer version."""
    retryable: bool | None
    """Whether the same request may succeed later."""
    retry_after_ms: int | None
    """Milliseconds after which a retry makes sense."""
    index: int | None
    """Position of the guilty item."""
    detail: Any
    """Data beyond the code; of a foreign peer the whole data."""


class _Event(TypedDict):
    id: str
    """Unique per source."""
    timestamp: str
    """When it happened, RFC 3339."""
    topic: str
    """Where it was published."""
    source: str
    """Who published it: `<plugin>/<instance>`, `client:<name>` or `hook:<kind>/<instance>`."""


class Event(_Event, total=False):
    """Is an event as the broker delivers it. The payload stays text."""

    session_id: str | None
    """Its conversation."""
    payload: Any
    """What happened: any JSON."""
    correlation_id: str | None
    """Id of the event that this answers."""
    causation_id: str | None
    """The event whose handling produced this one, `<source>|<id>`."""
    traceparent: str | None
    """W3C trace context."""
    expires_at: str | None
    """When it loses its use, RFC 3339."""
    blobs: list[str]
    """Blobs that it keeps alive."""
    metadata: dict[str, Any]
    """What else is known about it."""


class InboundMessage(TypedDict, total=False):
    """What came in from a channel (`plugin.inbound.*`)."""

    id: str | None
    """The channel's own id of the message."""
    text: str | None
    """The text."""
    alt_text: str | None
    """The text for where `text` or the parts cannot be shown."""
    parts: list[MessagePart] | None
    """Content beside the text, in order."""
    conversation: Conversation | None
    """Where it was said."""
    sender: Sender | None
    """Who said it."""
    reply_to: str | None
    """The message it answers."""
    edit_of: str | None
    """The message it replaces."""
    deleted: str | None
    """The message that was deleted."""
    reaction: Reaction | None
    """The reaction, where it is one."""
    ui_action: UiAction | None
    """What was pressed or chosen in a message, where it is that."""
    typing: bool | None
    """Somebody types (`true`), or no longer (`false`); stands alone."""
    sent_at: str | None
    """When it was said, RFC 3339."""
    referrer: Any
    """Opaque: where the conversation came from (a start link, a campaign)."""
    raw: dict[str, Any] | None
    """The channel's own data, under the channel's name."""


class _MessagePart(TypedDict):
    type: str
    """What it is: `text`, `image`, `audio`, `video`, `file`, `location`, `quote`, `mention`,
    `forward`, `poll`, `card`; another one is a channel's own, `<kind>.<word>`.
    """


class MessagePart(_MessagePart, total=False):
    """A piece of content; a `type` that is not known is kept as it is."""

    text: str | None
    """Text of a text part, a quote, a mention or a forward; caption of a medium."""
    alt_text: str | None
    """What to show where the part itself cannot be shown."""
    blob: str | None
    """Content by reference, `sha256:…`."""
    url: str | None
    """Content by address."""
    media_type: str | None
    """Media type of the content."""
    name: str | None
    """File name."""
    bytes: int | None
    """Size of the content."""
    duration_ms: int | None
    """Length of an audio or video."""
    width: int | None
    """Width in pixels."""
    height: int | None
    """Height in pixels."""
    latitude: float | None
    """Degrees north."""
    longitude: float | None
    """Degrees east."""
    user: Sender | None
    """Who is mentioned or quoted; who wrote what is forwarded."""
    message_id: str | None
    """Which message is quoted or forwarded."""
    conversation: Conversation | None
    """Where what is forwarded was said."""
    poll: MessagePoll | None
    """The question, of a poll."""
    card: Card | None
    """What is shown and can be pressed, of a card."""


class _Sender(TypedDict):
    id: str
    """The channel's own id of the person or bot."""


class Sender(_Sender, total=False):
    """Who wrote a message."""

    name: str | None
    """Name to show."""
    username: str | None
    """Handle on the channel."""
    is_bot: bool | None
    """Whether it is a program."""


class _Conversation(TypedDict):
    id: str
    """The channel's own id."""


class Conversation(_Conversation, total=False):
    """Where a message was said."""

    kind: str | None
    """What it is: `direct`, `group`, `channel` or another word."""
    thread_id: str | None
    """The thread or topic inside it."""
    name: str | None
    """Name to show."""


class _MessagePoll(TypedDict):
    question: str
    """What is asked."""
    options: list[Choice]
    """The answers, in order."""


class MessagePoll(_MessagePoll, total=False):
    """A question with answers to choose from."""

    multiple: bool | None
    """Whether more than one may be chosen."""
    closes_at: str | None
    """Until when it is open, RFC 3339."""


class _Choice(TypedDict):
    text: str
    """What people read."""


class Choice(_Choice, total=False):
    """One answer of a poll, or one entry of a card's list."""

    id: str | None
    """What comes back when it is chosen; its number from 0, as text, where absent."""


class Card(TypedDict, total=False):
    """Something to look at with something to press."""

    title: str | None
    """Its heading."""
    text: str | None
    """What it says."""
    actions: list[CardAction] | None
    """What can be pressed or chosen, in order."""


class _CardAction(TypedDict):
    id: str
    """What comes back in `ui_action.id`."""
    label: str
    """What people read."""


class CardAction(_CardAction, total=False):
    """A button of a card, or a list to choose from."""

    value: str | None
    """What comes back in `ui_action.value` when the button is pressed."""
    url: str | None
    """An address that is opened; nothing comes back."""
    options: list[Choice] | None
    """The entries, of a list to choose from."""


class _Reaction(TypedDict):
    target: str
    """The message reacted to."""
    key: str
    """The emoji or its name."""


class Reaction(_Reaction, total=False):
    """A reaction to a message."""

    op: str | None
    """`add` or `remove`."""


class _UiAction(TypedDict):
    id: str
    """The button or the list; `vote` of a poll."""


class UiAction(_UiAction, total=False):
    """Something that was pressed or chosen in a message."""

    target: str | None
    """The message that shows it."""
    value: Any
    """The value of the button, or the ids of what is chosen now, as a list."""


class _LifecyclePayload(TypedDict):
    state: InstanceState
    """The state."""
    since: str
    """Since when, RFC 3339."""


class LifecyclePayload(_LifecyclePayload, total=False):
    """Payload of `plugin.lifecycle.<plugin>.<instance>`."""

    reason: str
    """Why."""
    attempt: int | None
    """Which try in a row failed or is made, of a connection."""
    next_try: str | None
    """When the next one is made, or the next start, RFC 3339."""
    progress: ProgressParams | None
    """What it last told of its start, until that has ended."""
    generation: int | None
    """The current activation."""
    exit: Exit | None
    """How its process ended."""
    restarts: int | None
    """How often it was restarted."""
    rejected: Rejected | None
    """What it published in vain."""


InstanceState: TypeAlias = Literal[
    "starting",
    "standby",
    "ready",
    "degraded",
    "needs_auth",
    "paused",
    "draining",
    "backing_off",
    "stopped",
    "failed",
    "disabled",
    "frozen",
]
"""- ``starting``: Its process or link is coming up.
- ``standby``: Initialized, nothing opened outside.
- ``ready``: It serves.
- ``degraded``: It serves with restrictions.
- ``needs_auth``: A person must log in.
- ``paused``: It takes no new work.
- ``draining``: It finishes its work.
- ``backing_off``: It waits for its next start.
- ``stopped``: It was stopped.
- ``failed``: It will not be started again by itself.
- ``disabled``: The operator switched it off.
- ``frozen``: Reserved.
"""


class ProgressParams(TypedDict, total=False):
    """Parameters of `instance.progress`; as part of a status, what the instance last told of its start."""

    done: float | None
    """How much is done."""
    total: float | None
    """Of how much."""
    message: str
    """What happens."""
    data: Any
    """Data for a user interface, e.g. the content of a QR code."""


class _Rejected(TypedDict):
    code: str
    """Text form of the error code."""
    count: int
    """How many since the last report."""


class Rejected(_Rejected, total=False):
    """Says which publishes of an instance were refused."""

    topic: str
    """The topic of the last one."""


class OutboundMessage(TypedDict, total=False):
    """What is to be sent to a channel (`plugin.outbound.*`)."""

    text: str | None
    """The text."""
    alt_text: str | None
    """The text for a channel that cannot do what the rest asks for; without it that is refused."""
    parts: list[MessagePart] | None
    """Content beside the text, in order."""
    conversation: Conversation | None
    """Where to say it; the session's conversation where absent."""
    reply_to: str | None
    """The message to answer."""
    edit_of: str | None
    """The message to replace."""
    deleted: str | None
    """The message to delete."""
    reaction: Reaction | None
    """The reaction to set or take back."""
    typing: bool | None
    """Shows that somebody types (`true`), or no longer (`false`); stands alone."""
    referrer: Any
    """Opaque: handed back by the channel."""
    raw: dict[str, Any] | None
    """The channel's own data, under the channel's name."""


class _TimerFired(TypedDict):
    name: str
    """The timer."""
    due_at: str
    """When it was due, RFC 3339."""


class TimerFired(_TimerFired, total=False):
    """Payload of a timer's event, on `plugin.timer.<plugin>.<instance>`."""

    data: Any
    """What it was set with; `null` where that was nothing."""
    missed: int
    """Due times before this one that are not made up for."""


class ToolReply(TypedDict, total=False):
    """Payload of `plugin.tool.<plugin>.<tool>.reply`: what a call made by an event came to."""

    output: Any
    """Structured output; of a stream all of it."""
    content: list[ContentPart] | None
    """Parts for people and models."""
    error: ToolReplyError | None
    """Why there is no output."""


class _ContentPart(TypedDict):
    type: ContentKind
    """What it holds."""


class ContentPart(_ContentPart, total=False):
    """Is one part of a result for people and models, beside the structured output."""

    text: str | None
    """The text."""
    data: str | None
    """Bytes as base64."""
    blob: str | None
    """Bytes as a blob, `sha256:…`."""
    media_type: str | None
    """Media type of the bytes or the text."""
    uri: str | None
    """Address of a resource."""
    name: str | None
    """Name of a resource, for people."""


ContentKind: TypeAlias = Literal["text", "image", "audio", "resource"]
"""- ``text``: Text, in `text`.
- ``image``: An image, in `data` or `blob`.
- ``audio``: Sound, in `data` or `blob`.
- ``resource``: Something with an address, in `uri`, with `text`, `data` or `blob` if it is embedded.
"""


class _ToolReplyError(TypedDict):
    code: str
    """Text form of a code of the catalogue."""


class ToolReplyError(_ToolReplyError, total=False):
    """Is the error of a [`ToolReply`]."""

    message: str
    """What people read."""
    retryable: bool
    """Whether the same call may succeed later."""
    retry_after_ms: int | None
    """Milliseconds after which a retry makes sense."""
    detail: Any
    """Data beyond the code."""
