"""The event: the envelope of what came in, and a draft of what goes out.

The broker fills what a draft leaves empty. Fields keep their names of the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from . import _core
from ._duration import Duration, duration, given

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


class Event(Generic[T]):
    """A fact, and who said it, when, in which conversation.

    As the annotation of a handler's first parameter it gives the whole envelope;
    ``Event[Order]`` reads the payload as an ``Order``. Make drafts with :meth:`new` and
    :meth:`inbound`::

        >>> from trunkline import Event
        >>> event = Event.inbound({"text": "hi", "conversation": {"id": "c1"}}, id="update-917")
        >>> event.id, event.payload["text"]
        ('update-917', 'hi')
    """

    __slots__ = (
        "id",
        "timestamp",
        "topic",
        "source",
        "session_id",
        "payload",
        "correlation_id",
        "causation_id",
        "traceparent",
        "expires_at",
        "blobs",
        "metadata",
        "_draft",
        "_incoming",
    )

    id: str
    """Names the event, unique per source. Empty in a draft: made when it is published."""
    timestamp: str
    """When it happened, RFC 3339. Empty in a draft: the broker's clock."""
    topic: str
    """Where it was published."""
    source: str
    """Who published it, as the broker stamped it."""
    session_id: str | None
    """The conversation it belongs to."""
    payload: T
    """What it says."""
    correlation_id: str | None
    """The id of the event that this one answers."""
    causation_id: str | None
    """The event whose handling produced this one, as ``source|id``."""
    traceparent: str | None
    """The W3C trace context."""
    expires_at: str | None
    """When it is of no use any more, RFC 3339."""
    blobs: list[str]
    """The blobs that it keeps alive, as ``sha256:…``."""
    metadata: dict[str, Any]
    """What else the publisher said about it."""

    def __init__(
        self,
        topic: str = "",
        payload: T = None,  # type: ignore[assignment]
        *,
        id: str = "",
        source: str = "",
        session_id: str | None = None,
        correlation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.timestamp = ""
        self.topic = topic
        self.source = source
        self.session_id = session_id
        self.payload = payload
        self.correlation_id = correlation_id
        self.causation_id = None
        self.traceparent = None
        self.expires_at = None
        self.blobs = []
        self.metadata = dict(metadata) if metadata else {}
        self._draft: dict[str, Any] | None = None
        self._incoming: _core.Incoming | None = None

    @classmethod
    def new(
        cls,
        topic: str,
        source: str,
        payload: T,
        *,
        id: str | None = None,
        session: str | None = None,
        correlation: str | None = None,
        expires: Duration | None = None,
        ephemeral: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Event[T]:
        """Drafts an event for a topic.

        Args:
            topic: Where it goes.
            source: Who says it; the broker stamps it, and keeps another claim in the metadata.
            payload: What it says.
            id: Its id; publishing the same again is answered as a duplicate.
            session: The conversation it belongs to.
            correlation: The id of the event that it answers.
            expires: After how long it is of no use any more.
            ephemeral: Only who listens now gets it, and it is never stored.
            metadata: What else to say about it.
        """
        event = cls(
            topic,
            payload,
            id=id or "",
            source=source,
            session_id=session,
            correlation_id=correlation,
            metadata=metadata,
        )
        event._draft = _options(expires, ephemeral)
        return event

    @classmethod
    def inbound(
        cls,
        payload: T,
        *,
        id: str | None = None,
        session: str | None = None,
        kind: str | None = None,
        correlation: str | None = None,
        expires: Duration | None = None,
        ephemeral: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Event[T]:
        """Drafts what came in from outside: ``plugin.inbound.<kind>.<this instance>``.

        Args:
            payload: The message; its ``conversation.id`` is the session unless one is given.
            id: Its id, best the one that the outside gave it.
            session: The conversation it belongs to.
            kind: The channel's kind; else that of the event being handled, else the plugin's only one.
            correlation: The id of the event that it answers.
            expires: After how long it is of no use any more.
            ephemeral: Only who listens now gets it, and it is never stored.
            metadata: What else to say about it.
        """
        event = cls(
            "",
            payload,
            id=id or "",
            session_id=session,
            correlation_id=correlation,
            metadata=metadata,
        )
        event._draft = {"inbound": True, **given(kind=kind), **_options(expires, ephemeral)}
        return event

    @property
    def session_key(self) -> str | None:
        """The ordering key: the session within its kind and instance on the channels' topics."""
        return None if self._incoming is None else self._incoming.session_key

    @property
    def raw(self) -> bytes:
        """The payload's JSON text, of what came in exactly as it came."""
        return _core.dumps(self.payload) if self._incoming is None else self._incoming.raw

    def __repr__(self) -> str:
        return f"Event(topic={self.topic!r}, id={self.id!r}, payload={self.payload!r})"


def _options(expires: Duration | None, ephemeral: bool) -> dict[str, Any]:
    return given(expires=duration(expires), ephemeral=ephemeral or None)


def draft_of(event: Event[Any]) -> dict[str, Any]:
    """Gives the form in which the core takes a draft."""
    made: dict[str, Any] = {
        "payload": event.payload,
        **given(
            topic=event.topic or None,
            id=event.id or None,
            session=event.session_id,
            correlation=event.correlation_id,
            metadata=event.metadata or None,
            blobs=event.blobs or None,
            source=event.source or None,
        ),
    }
    if event._draft:
        made.update(event._draft)
    return made


def event_of(
    envelope: Mapping[str, Any],
    incoming: _core.Incoming | None = None,
    read: Callable[[Any], Any] | None = None,
) -> Event[Any]:
    """Makes the event of an envelope; its payload is read as a handler wants it."""
    get = envelope.get
    payload = get("payload")
    event: Event[Any] = Event(
        get("topic") or (incoming.topic if incoming is not None else ""),
        payload if read is None else read(payload),
        id=get("id") or "",
        source=get("source") or "",
        session_id=get("session_id"),
        correlation_id=get("correlation_id"),
        metadata=get("metadata"),
    )
    event.timestamp = get("timestamp") or ""
    event.causation_id = get("causation_id")
    event.traceparent = get("traceparent")
    event.expires_at = get("expires_at")
    event.blobs = get("blobs") or []
    event._incoming = incoming
    return event
