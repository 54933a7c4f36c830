"""What a handler says by what it returns or raises.

How an outcome is settled is the core's; here it only gets the form in which the core takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar, cast

from ._duration import Duration, duration, given
from ._event import Event, draft_of
from ._part import Part
from ._timer import schedule_args


class Reply:
    """Answers the event being handled, committed with its ack.

    On the inbound topic for an outbound event, and the other way round; on ``<topic>.reply`` for a
    tool's topic. Same session, same conversation.

    Args:
        payload: The answer; a bare text becomes a message's ``text``.

    Example:
        >>> from trunkline import Json, Reply
        >>> async def echo(payload: Json) -> Reply:
        ...     return Reply(payload)
    """

    __slots__ = ("payload",)

    def __init__(self, payload: Any) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return f"Reply({self.payload!r})"


class Outcome(Exception):
    """Is an outcome that may be raised as well as returned."""

    _word: ClassVar[str]

    def _args(self) -> dict[str, Any]:
        raise NotImplementedError


class Retry(Outcome):
    """Asks to be given the event again, later.

    Args:
        after: The time until the next attempt.
        reason: Why, for the log and the dead letter.
        counted: Whether this attempt counts as a failure; ``False`` says not now, rather than
            not so.

    Example:
        >>> from trunkline import Json, Retry
        >>> async def send(message: Json) -> None:
        ...     raise Retry("30s", "the provider is down")
    """

    _word = "retry"

    def __init__(self, after: Duration, reason: str = "", *, counted: bool = True) -> None:
        super().__init__(after, reason)
        self.after = after
        self.reason = reason
        self.counted = counted

    def _args(self) -> dict[str, Any]:
        return {"after": duration(self.after), "reason": self.reason, "counted": self.counted}


class Reject(Outcome):
    """Says that the event can never be handled: it becomes a dead letter.

    Args:
        reason: Why, for people.
        code: Why, for programs.
    """

    _word = "reject"

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code

    def _args(self) -> dict[str, Any]:
        return {"reason": self.reason, **given(code=self.code)}


class RetryLater(Outcome):
    """Says that the instance cannot work now: it stops and is started again later.

    Args:
        reason: Why.
        after: For how long; the supervisor's backoff unless given.
    """

    _word = "retry_later"

    def __init__(self, reason: str, after: Duration | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after

    def _args(self) -> dict[str, Any]:
        return {"reason": self.reason, **given(after=duration(self.after))}


class NeedsAuth(Outcome):
    """Says that the instance cannot work until somebody logs in.

    Args:
        reason: Why.
        url: Where to log in.
    """

    _word = "needs_auth"

    def __init__(self, reason: str, url: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.url = url

    def _args(self) -> dict[str, Any]:
        return {"reason": self.reason, **given(url=self.url)}


class Fatal(Outcome):
    """Says that the instance can never work with this config.

    Args:
        reason: Why.
    """

    _word = "fatal"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def _args(self) -> dict[str, Any]:
        return {"reason": self.reason}


class Receipt:
    """Says what became of an outbound message.

    Args:
        state: ``queued sent delivered read failed`` or ``unknown``.
        provider_id: The provider's id of the message.
        error: Of a failure: ``code``, and ``class``, ``retryable``, ``message``, ``feature``.
        part: Which of how many pieces of the message it speaks of: ``n`` and ``of``.
        degraded: Features that the channel does not have, and in whose place text was sent.

    Example:
        >>> from trunkline import Receipt
        >>> Receipt("sent", "SM1").state
        'sent'
    """

    __slots__ = ("state", "provider_id", "error", "part", "degraded")

    def __init__(
        self,
        state: str,
        provider_id: str | None = None,
        error: dict[str, Any] | None = None,
        part: dict[str, int] | None = None,
        degraded: list[str] | None = None,
    ) -> None:
        self.state = state
        self.provider_id = provider_id
        self.error = error
        self.part = part
        self.degraded = degraded

    def __repr__(self) -> str:
        return f"Receipt({self._args()})"

    @classmethod
    def of(cls, found: dict[str, Any]) -> Receipt:
        """Reads the payload of a receipt."""
        get = found.get
        found_part, degraded = get("part"), get("degraded")
        return cls(str(get("state")), get("provider_id"), get("error"), found_part, degraded)

    def _args(self) -> dict[str, Any]:
        return {
            "state": self.state,
            **given(
                provider_id=self.provider_id,
                error=self.error,
                part=self.part,
                degraded=self.degraded,
            ),
        }


class Batch:
    """Is published, and kept, with the ack of the event being handled: all of it or nothing.

    Args:
        events: Drafts, see :meth:`Event.inbound` and :meth:`Event.new`.
        cursor: Where the outside goes on from, in a poll or a connection; ``None`` forgets.
        parts: Parts for an assembler.
        again: How soon to poll or to connect next, in place of the schedule.
        ack: What the outside gets once the rest is durable: a webhook's answer (``status``,
            ``headers``, ``body``), or a frame of a connection.

    Example:
        >>> from trunkline import Batch, Event
        >>> Batch([Event.new("agent.seen", "me", {"n": 1})]).put("seen", 1, ttl="7d")
        Batch(1 events, 1 changes)
    """

    __slots__ = ("events", "_kv", "_timers", "_if_lock", "_outside")

    def __init__(
        self,
        events: Iterable[Event[Any]] = (),
        *,
        cursor: Any = ...,
        again: Duration | None = None,
        ack: Any = None,
        parts: Iterable[Part] = (),
    ) -> None:
        self.events = list(events)
        self._outside = given(again=duration(again), ack=ack)
        if parts := list(parts):
            self._outside["parts"] = [part._args() for part in parts]
        if cursor is not ...:
            self._outside["cursor"] = cursor
        self._kv: list[dict[str, Any]] = []
        self._timers: list[dict[str, Any]] = []
        self._if_lock: dict[str, Any] | None = None

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: Duration | None = None,
        if_revision: int | None = None,
    ) -> Batch:
        """Sets a key of the instance's state; see ``kv.put``."""
        options = given(ttl=duration(ttl), if_revision=if_revision)
        self._kv.append({"op": "put", "key": key, "value": value, **options})
        return self

    def delete(self, key: str, *, if_revision: int | None = None) -> Batch:
        """Deletes a key of the instance's state."""
        self._kv.append({"op": "delete", "key": key, **given(if_revision=if_revision)})
        return self

    def timer_set(
        self,
        name: str,
        *,
        after: Duration | None = None,
        every: Duration | None = None,
        at: str | datetime | None = None,
        cron: str | None = None,
        tz: str | None = None,
        jitter: Duration | None = None,
        misfire: str | None = None,
        data: Any = None,
        session: str | None = None,
        keep: bool = False,
    ) -> Batch:
        """Sets a timer of the instance; see ``timer.set``."""
        schedule = schedule_args(after, every, at, cron, tz, jitter, misfire, data, session, keep)
        self._timers.append({"op": "set", "name": name, "schedule": schedule})
        return self

    def timer_cancel(self, name: str) -> Batch:
        """Cancels a timer of the instance."""
        self._timers.append({"op": "cancel", "name": name})
        return self

    def if_lock(self, name: str, token: int) -> Batch:
        """Commits only while the lock is held with this token."""
        self._if_lock = {"name": name, "token": token}
        return self

    def _args(self) -> dict[str, Any]:
        return {
            "events": [draft_of(event) for event in self.events],
            "kv": self._kv,
            **given(timers=self._timers or None, if_lock=self._if_lock),
            **self._outside,
        }

    def __repr__(self) -> str:
        return f"Batch({len(self.events)} events, {len(self._kv)} changes)"


Returned = (
    None
    | Reply
    | Event[Any]
    | list[Event[Any]]
    | tuple[Event[Any], ...]
    | Batch
    | str
    | Receipt
    | Part
    | list[Part]
    | Outcome
)
"""What a handler may return."""


def batch_args(events: Iterable[Event[Any] | Batch | Receipt]) -> dict[str, Any]:
    """Gives the form in which the core takes drafts that are committed at once."""
    whole = Batch()
    for event in events:
        if isinstance(event, Batch):
            whole.events += event.events
            whole._kv += event._kv
            whole._timers += event._timers
            whole._if_lock = event._if_lock or whole._if_lock
        elif isinstance(event, Receipt):
            whole.events.append(ReceiptDraft(event))
        else:
            whole.events.append(event)
    return whole._args()


class ReceiptDraft(Event[Any]):
    """Is a receipt among drafts of events."""

    __slots__ = ()

    def __init__(self, receipt: Receipt) -> None:
        super().__init__()
        self._draft = {"receipt": receipt._args()}


def _events(events: Iterable[Any]) -> dict[str, Any]:
    drafts = list(events)
    if drafts and all(isinstance(draft, Part) for draft in drafts):
        return {"parts": [part._args() for part in drafts]}
    for draft in drafts:
        if not isinstance(draft, Event):
            return {"invalid": f"a list with {type(draft).__name__}"}
    return {"events": [draft_of(draft) for draft in drafts]}


def _raised(outcome: Outcome) -> dict[str, Any]:
    return {outcome._word: outcome._args()}


_FORMS: dict[type, Callable[[Any], Any]] = {
    type(None): lambda _: None,
    Reply: lambda reply: {"reply": reply.payload},
    str: lambda text: {"text": text},
    Event: lambda event: {"events": [draft_of(event)]},
    list: _events,
    tuple: _events,
    Batch: lambda batch: batch._args(),
    Receipt: lambda receipt: {"receipt": receipt._args()},
    Part: lambda part: {"parts": [part._args()]},
}


def outcome_of(value: Any) -> Any:
    """Gives the form in which the core takes what a handler returned."""
    kind = cast("type[Any]", type(value))
    form = _FORMS.get(kind)
    if form is not None:
        return form(value)
    if isinstance(value, Outcome):
        return _raised(value)
    for base, form in _FORMS.items():
        if isinstance(value, base):
            return form(value)
    return {"invalid": kind.__name__}
