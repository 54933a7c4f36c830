"""Plugins and agents for the Trunkline broker.

A plugin connects a channel (a chat network, SMS, mail, …) to the broker; an agent or app is a client
of it. Both are plain objects with handlers on them. **What a handler returns or raises settles what
it was given**: returning is the ack, :class:`Retry` asks for it again, :class:`Reject` makes it a dead
letter, any other exception is a failed attempt.

Sessions run in parallel, the events of one session in order. An ``async def`` handler runs on the
loop, a plain ``def`` in a thread.
"""

from __future__ import annotations

from . import payloads
from ._adapter import BrokerSender, PluginAdapter
from ._blob import BlobRef, Blobs, SyncBlobs
from ._client import Client, Delivery, Subscription
from ._connect import Conn, SyncConn
from ._context import Context, InstanceContext, Lock, Sending, Session
from ._duration import Duration, Start
from ._errors import (
    Cancelled,
    ConfigInvalid,
    DeclarationConflict,
    DeliveryFailed,
    DeliveryUnknown,
    Draining,
    FrameTooLarge,
    Gap,
    HttpError,
    IdConflict,
    InstanceBusy,
    Internal,
    InvalidArguments,
    InvalidFrame,
    InvalidPayload,
    InvalidReturn,
    InvalidTopic,
    LinkLost,
    LockHeld,
    LockLost,
    NotActive,
    NotFound,
    NotImplemented,
    OutcomeUnknown,
    ProtocolMismatch,
    ProtocolViolation,
    QuotaExceeded,
    RateLimited,
    RevisionConflict,
    StaleGeneration,
    StaleLease,
    StorageFull,
    TimedOut,
    ToolFailed,
    ToolNotFound,
    TopicNotGranted,
    TrunklineError,
    Unauthorized,
    Unavailable,
    Unrouted,
)
from ._event import Event
from ._http import Http, HttpAt, Response, SyncHttp, SyncHttpAt
from ._kv import Kv, SyncKv
from ._members import Config, DeliveryInfo, Entry, KeyChange, Log, Published
from ._message import (
    Card,
    CardAction,
    Choice,
    Conversation,
    InboundMessage,
    MessagePart,
    MessagePoll,
    OutboundMessage,
    Reaction,
    Sender,
    UiAction,
)
from ._outcome import (
    Batch,
    Fatal,
    NeedsAuth,
    Receipt,
    Reject,
    Reply,
    Retry,
    RetryLater,
    Returned,
)
from ._part import Assembly, Part
from ._payload import Json
from ._plugin import Plugin, RetryPolicy
from ._poll import Enclosure, FeedItem, JsonList, Paginate, PollAlert
from ._run import Runnable, run, serve
from ._schema import Field
from ._sync import SyncContext, SyncInstanceContext, SyncLock, SyncSending, SyncSession
from ._timer import SyncTimers, TimerEntry, TimerEvent, Timers, TimerSet
from ._tool import SyncToolCall, ToolCall, ToolCaller, ToolError, ToolStep
from ._webhook import WebhookRequest
from .testing import TestBroker

__version__ = "0.1.0"

__all__ = [
    "Assembly",
    "Batch",
    "BlobRef",
    "Blobs",
    "BrokerSender",
    "Cancelled",
    "Card",
    "CardAction",
    "Choice",
    "Client",
    "Config",
    "ConfigInvalid",
    "Conn",
    "Context",
    "Conversation",
    "DeclarationConflict",
    "Delivery",
    "DeliveryFailed",
    "DeliveryInfo",
    "DeliveryUnknown",
    "Draining",
    "Duration",
    "Enclosure",
    "Entry",
    "Event",
    "Field",
    "Fatal",
    "FeedItem",
    "FrameTooLarge",
    "Gap",
    "Http",
    "HttpAt",
    "HttpError",
    "IdConflict",
    "InboundMessage",
    "InstanceBusy",
    "InstanceContext",
    "Internal",
    "InvalidArguments",
    "InvalidFrame",
    "InvalidPayload",
    "InvalidReturn",
    "InvalidTopic",
    "Json",
    "JsonList",
    "KeyChange",
    "Kv",
    "LinkLost",
    "Lock",
    "LockHeld",
    "LockLost",
    "Log",
    "MessagePart",
    "MessagePoll",
    "NeedsAuth",
    "NotActive",
    "NotFound",
    "NotImplemented",
    "OutboundMessage",
    "OutcomeUnknown",
    "Paginate",
    "PollAlert",
    "Part",
    "Plugin",
    "PluginAdapter",
    "ProtocolMismatch",
    "ProtocolViolation",
    "Published",
    "QuotaExceeded",
    "RateLimited",
    "Reaction",
    "Receipt",
    "Reject",
    "Reply",
    "Response",
    "Retry",
    "RetryLater",
    "RetryPolicy",
    "Returned",
    "RevisionConflict",
    "Runnable",
    "Sender",
    "Sending",
    "Session",
    "StaleGeneration",
    "StaleLease",
    "Start",
    "StorageFull",
    "Subscription",
    "SyncBlobs",
    "SyncConn",
    "SyncContext",
    "SyncHttp",
    "SyncHttpAt",
    "SyncInstanceContext",
    "SyncKv",
    "SyncLock",
    "SyncSending",
    "SyncSession",
    "SyncTimers",
    "SyncToolCall",
    "TestBroker",
    "TimedOut",
    "TimerEntry",
    "TimerEvent",
    "TimerSet",
    "Timers",
    "ToolCall",
    "ToolCaller",
    "ToolError",
    "ToolFailed",
    "ToolNotFound",
    "ToolStep",
    "TopicNotGranted",
    "TrunklineError",
    "UiAction",
    "Unauthorized",
    "Unavailable",
    "Unrouted",
    "WebhookRequest",
    "payloads",
    "run",
    "serve",
]
