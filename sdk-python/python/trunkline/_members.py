"""What a context has at once, in coroutines and in threads alike."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, cast

from . import _core
from ._duration import Duration
from ._errors import InvalidPayload
from ._event import Event, event_of
from ._outcome import Reject, Retry
from ._part import Assembly

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ._runtime import Runtime

    C = TypeVar("C", default=Mapping[str, Any])
else:
    from typing import TypeVar

    C = TypeVar("C")


class Published(NamedTuple):
    """Says what became of a publish."""

    seq: int | None
    """Its number in the store; none for an ephemeral event."""
    duplicate: bool
    """It was stored before, under the same id."""
    matched: int
    """How many subscriptions it reached."""


class Entry(NamedTuple):
    """A key of the state store, with its value."""

    key: str
    value: Any
    revision: int


class KeyChange(NamedTuple):
    """A change of a key that is watched."""

    key: str
    revision: int
    value: Any
    deleted: bool


class DeliveryInfo(NamedTuple):
    """What the broker says about one handing-over."""

    attempt: int
    """The number of this attempt, from one."""
    redelivered: bool
    """It may have been handed over before."""
    subscription: str
    """The full name of the subscription."""
    replay_of: Any = None
    """The dead letter that was put back, if it is one."""


class Config(Mapping[str, Any]):
    """The settings of an instance, read only. Its text shows no values: some are secret."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return "Config(" + ", ".join(f"{key}=***" for key in self._values) + ")"


class Log:
    """Writes lines with fields to the instance's log.

    ``logging`` and ``print`` work too: what a plugin prints is its log.
    """

    __slots__ = ("_runtime", "_target")

    def __init__(self, runtime: Runtime, target: int) -> None:
        self._runtime = runtime
        self._target = target

    def debug(self, message: str, **fields: Any) -> None:
        """Writes a line for finding mistakes."""
        self.write("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """Writes a line that is worth knowing."""
        self.write("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """Writes a line about something that was recovered from."""
        self.write("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Writes a line that an operator must see."""
        self.write("error", message, fields)

    def write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """Writes a line of a level. Without a link it goes to stderr."""
        args = {"level": level, "message": message, "fields": fields}
        try:
            is_linked = self._runtime.tell(self._target, "log", args)
        except InvalidPayload:
            # A log line is never a reason to fail: what has no JSON form is shown as text.
            texts = {name: repr(value) for name, value in fields.items()}
            args = {"level": level, "message": _utf8(message), "fields": texts}
            is_linked = self._runtime.tell(self._target, "log", args)
        if is_linked is False and sys.stderr is not None:
            texts = {name: value for name, value in fields.items()}
            sys.stderr.write(f"{level} {_utf8(message)} {texts or ''}".rstrip() + "\n")


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class InstanceMembers(Generic[C]):
    """What is known of an instance, and told about it, without waiting."""

    __slots__ = ("_runtime", "_target", "_instance", "_read")

    _runtime: Runtime
    _target: int
    _instance: int
    _read: Callable[[Any], Any] | None

    @property
    def config(self) -> C:
        """The instance's settings, secrets as plain text."""
        values: dict[str, Any] = self._runtime.tell(self._instance, "config") or {}
        found: Any = Config(values) if self._read is None else self._read(values)
        return cast(C, found)

    @property
    def state(self) -> Any:
        """What ``on_start`` returned."""
        states = self._runtime.states
        if self._instance in states:
            return states[self._instance]
        return self._runtime.tell(self._instance, "state")

    @property
    def instance(self) -> str:
        """The account's label; a client's name for a client."""
        found: str = self._runtime.tell(self._instance, "instance")
        return found

    @property
    def log(self) -> Log:
        """The instance's log."""
        return Log(self._runtime, self._instance)

    def progress(
        self,
        done: float | None = None,
        total: float | None = None,
        message: str = "",
        data: Any = None,
    ) -> None:
        """Tells how far a tool's call is, or a long start, whose limit begins anew with each.

        Args:
            done: How much is done.
            total: Of how much.
            message: What is being done.
            data: For programs, such as a QR code to scan.
        """
        args: dict[str, Any] = {"message": message}
        if done is not None:
            args["done"] = done
        if total is not None:
            args["total"] = total
        if data is not None:
            args["data"] = data
        self._runtime.tell(self._target, "progress", args)

    def status(self, state: str, reason: str = "") -> None:
        """Reports ``"degraded"``, or ``"ready"`` again.

        Args:
            state: ``"ready"`` or ``"degraded"``.
            reason: Why.
        """
        self._runtime.tell(self._instance, "status", {"state": state, "reason": reason})

    def hook_url(self, name: str = "") -> str | None:
        """The public address of a webhook; none where the daemon serves no HTTP.

        Args:
            name: The webhook's name; ``kind/name`` where the plugin has several kinds.
        """
        found: str | None = self._runtime.tell(self._target, "hook_url", {"name": name})
        return found

    def listener(self) -> socket.socket:
        """The socket for an HTTP server of the plugin's own, which listens already.

        The daemon made it and keeps it: who connects while the plugin restarts waits in it. Each
        call gives another ``socket`` for the same; give it to ``asyncio.start_server(sock=…)``, aiohttp's
        ``SockSite``, or uvicorn's ``Server.serve(sockets=[…])``.

        Raises:
            NotFound: plugin.toml does not ask for ``http_server``, or the operator does not grant it.
        """
        found = self._runtime.tell(self._instance, "listener")
        return socket.socket(fileno=found["fd"])


class EventMembers(InstanceMembers[C]):
    """What is known of the event being handled."""

    __slots__ = ("ticket", "_incoming", "_event")

    def __init__(self, runtime: Runtime, incoming: _core.Incoming, read: Any = None) -> None:
        self._runtime = runtime
        self._target = self.ticket = incoming.ticket
        self._instance = incoming.instance
        self._incoming = incoming
        self._read = read
        self._event: Event[Any] | None = None

    @property
    def event(self) -> Event[Any]:
        """The event being handled, with its envelope."""
        if self._event is None:
            self._event = event_of(self._incoming.envelope(), self._incoming)
        return self._event

    @property
    def topic(self) -> str:
        """The topic it came on."""
        return self._incoming.topic

    @property
    def kind(self) -> str | None:
        """The channel's kind, where the topic belongs to one."""
        return self._incoming.kind

    @property
    def delivery(self) -> DeliveryInfo | None:
        """Which attempt this is; none for an ephemeral event, which has only one."""
        found = self._incoming.delivery
        if found is None:
            return None
        attempt, redelivered, subscription = found
        replay_of = self.event.metadata.get("replay_of")
        return DeliveryInfo(attempt, redelivered, subscription, replay_of)

    @property
    def caller(self) -> str | None:
        """Who calls the tool: ``client:<name>``, or ``<plugin>/<instance>``. None for an event."""
        return self._incoming.caller

    @property
    def assembly(self) -> Assembly | None:
        """Why an assembler's function is called now, and what is missing; none anywhere else."""
        found = self.event.metadata.get("assembly")
        return None if found is None else Assembly(**found)

    @property
    def remaining(self) -> timedelta:
        """The time that is left for this event."""
        return timedelta(milliseconds=self._incoming.remaining_ms)

    @property
    def deadline(self) -> datetime:
        """When the time for this event is over."""
        return datetime.now(timezone.utc) + self.remaining

    @property
    def cancelled(self) -> bool:
        """The work is to end: its time is over, or the instance stops."""
        return self._incoming.is_cancelled

    @property
    def idempotency_key(self) -> str:
        """The key to hand to a provider: the same at every attempt. Of a call it is the caller's."""
        return self._incoming.idempotency_key

    @property
    def split(self) -> tuple[int, int]:
        """Which part of a text that was too long for the channel this is, from 1, and of how many."""
        return self._incoming.split

    def ack(self) -> None:
        """Settles the event as handled; only with ``settle="manual"``."""
        self._settle({"ack": True})

    def nak(self, after: Duration, reason: str = "", *, counted: bool = True) -> None:
        """Asks for the event again later; only with ``settle="manual"``.

        Args:
            after: The time until the next attempt.
            reason: Why.
            counted: Whether this attempt counts as a failure.
        """
        self._settle({"nak": Retry(after, reason, counted=counted)._args()})

    def reject(self, reason: str, code: str | None = None) -> None:
        """Refuses the event for good; only with ``settle="manual"``.

        Args:
            reason: Why, for people.
            code: Why, for programs.
        """
        self._settle({"reject": Reject(reason, code)._args()})

    def _settle(self, how: dict[str, Any]) -> None:
        self._runtime.tell(self._target, "settle", how)


def publish_args(
    topic: str,
    payload: Any,
    session: str | None,
    id: str | None,
    correlation: str | None,
    expires: Any,
    ephemeral: bool,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Gives the arguments of ``publish``."""
    args: dict[str, Any] = {"topic": topic, "payload": payload}
    if session is not None:
        args["session"] = session
    if id is not None:
        args["id"] = id
    if correlation is not None:
        args["correlation"] = correlation
    if expires is not None:
        args["expires"] = expires
    if ephemeral:
        args["ephemeral"] = True
    if metadata:
        args["metadata"] = metadata
    return args


def published(found: dict[str, Any]) -> Published:
    """Reads the answer of ``publish``."""
    return Published(found["seq"], found["duplicate"], found["matched"])
