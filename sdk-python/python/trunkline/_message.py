"""Standard payloads: typed views on what a message from or to a channel looks like.

A view holds the dict that came and reads from it. Nothing is validated, unknown members stay where
they are; a member that is absent reads as ``None``, or as the empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeGuard, TypeVar, cast, overload

T = TypeVar("T")
V = TypeVar("V", bound="View")


class View:
    """A typed view on a JSON object."""

    __slots__ = ("json",)

    json: dict[str, Any]
    """The object itself, with all its members."""

    def __init__(self, json: Mapping[str, Any] | None = None, /, **members: Any) -> None:
        found: Any = {} if json is None else json
        self.json = found if isinstance(found, dict) else dict(found)
        if members:
            self.json = {**self.json, **members}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.json == other.json

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.json!r})"


class _Member(Generic[T]):
    """Reads one member of a view; its documentation is the member's."""

    __slots__ = ("_name", "_read", "doc")

    def __init__(self, name: str, doc: str, read: Callable[[Any], Any] | None = None) -> None:
        self._name = name
        self._read = read
        self.doc = doc

    @overload
    def __get__(self, view: None, owner: type[View]) -> _Member[T]: ...
    @overload
    def __get__(self, view: View, owner: type[View]) -> T: ...
    def __get__(self, view: View | None, owner: type[View]) -> T | _Member[T]:
        if view is None:
            return self
        found: Any = view.json.get(self._name)
        value: T = found if self._read is None else self._read(found)
        return value


def _text(name: str, doc: str) -> _Member[str | None]:
    return _Member(name, doc)


def _view(kind: Callable[[Any], V]) -> Callable[[Any], V]:
    return lambda found: kind(found if isinstance(found, dict) else {})


class Sender(View):
    """Who wrote a message."""

    __slots__ = ()
    id = _Member[str]("id", "The channel's own id of the person or bot.")
    name = _text("name", "Name to show.")
    username = _text("username", "Handle on the channel.")
    is_bot = _Member[bool | None]("is_bot", "Whether it is a program.")


class Conversation(View):
    """Where a message was said."""

    __slots__ = ()
    id = _Member[str]("id", "The channel's own id.")
    kind = _text("kind", "What it is: ``direct``, ``group``, ``channel`` or another word.")
    thread_id = _text("thread_id", "The thread or topic inside it.")
    name = _text("name", "Name to show.")


class Reaction(View):
    """A reaction to a message."""

    __slots__ = ()
    target = _Member[str]("target", "The message reacted to.")
    key = _Member[str]("key", "The emoji or its name.")
    op = _text("op", "``add`` or ``remove``.")


def _is_list(found: Any) -> TypeGuard[list[Any]]:
    return isinstance(found, list)


def _views(kind: Callable[[Any], V]) -> Callable[[Any], list[V]]:
    return lambda found: [kind(one) for one in found] if _is_list(found) else []


class Choice(View):
    """One answer of a poll, or one entry of a card's list."""

    __slots__ = ()
    text = _Member[str]("text", "What people read.")
    id = _text("id", "What comes back when it is chosen; its number from 0 where absent.")


class MessagePoll(View):
    """A question with answers to choose from."""

    __slots__ = ()
    question = _Member[str]("question", "What is asked.")
    options = _Member[list[Choice]]("options", "The answers, in order.", _views(Choice))
    multiple = _Member[bool | None]("multiple", "Whether more than one may be chosen.")
    closes_at = _text("closes_at", "Until when it is open, RFC 3339.")


class CardAction(View):
    """A button of a card, or a list to choose from."""

    __slots__ = ()
    id = _Member[str]("id", "What comes back in ``ui_action.id``.")
    label = _Member[str]("label", "What people read.")
    value = _text("value", "What comes back in ``ui_action.value``.")
    url = _text("url", "An address that is opened; nothing comes back.")
    options = _Member[list[Choice]]("options", "The entries, of a list.", _views(Choice))


class Card(View):
    """Something to look at with something to press."""

    __slots__ = ()
    title = _text("title", "Its heading.")
    text = _text("text", "What it says.")
    actions = _Member[list[CardAction]](
        "actions", "What can be pressed or chosen.", _views(CardAction)
    )


class UiAction(View):
    """Something that was pressed or chosen in a message."""

    __slots__ = ()
    id = _Member[str]("id", "The button or the list; ``vote`` of a poll.")
    target = _text("target", "The message that shows it.")
    value = _Member[Any]("value", "The value of the button, or the ids of what is chosen now.")


class MessagePart(View):
    """A piece of content; a ``type`` that is not known is kept as it is."""

    __slots__ = ()
    type = _Member[str](
        "type",
        "What it is: ``text image audio video file location quote mention forward poll card``.",
    )
    text = _text("text", "Text of a part that has some; caption of a medium.")
    alt_text = _text("alt_text", "What to show where the part itself cannot be shown.")
    blob = _text("blob", "Content by reference, ``sha256:…``.")
    url = _text("url", "Content by address.")
    media_type = _text("media_type", "Media type of the content.")
    name = _text("name", "File name.")
    bytes = _Member[int | None]("bytes", "Size of the content.")
    duration_ms = _Member[int | None]("duration_ms", "Length of an audio or video.")
    width = _Member[int | None]("width", "Width in pixels.")
    height = _Member[int | None]("height", "Height in pixels.")
    latitude = _Member[float | None]("latitude", "Degrees north.")
    longitude = _Member[float | None]("longitude", "Degrees east.")
    user = _Member[Sender]("user", "Who is mentioned, quoted or forwarded.", _view(Sender))
    message_id = _text("message_id", "Which message is quoted or forwarded.")
    conversation = _Member[Conversation](
        "conversation", "Where what is forwarded was said.", _view(Conversation)
    )
    poll = _Member[MessagePoll]("poll", "The question, of a poll.", _view(MessagePoll))
    card = _Member[Card]("card", "What is shown and can be pressed, of a card.", _view(Card))


def _maybe(kind: Callable[[Any], V]) -> Callable[[Any], V | None]:
    return lambda found: kind(cast(Any, found)) if isinstance(found, dict) else None


class _Message(View):
    __slots__ = ()
    text = _text("text", "The text.")
    alt_text = _text("alt_text", "The text for where ``text`` or the parts cannot be shown.")
    parts = _Member[list[MessagePart]](
        "parts", "Content beside the text, in order.", _views(MessagePart)
    )
    conversation = _Member[Conversation]("conversation", "Where it is said.", _view(Conversation))
    reply_to = _text("reply_to", "The message it answers.")
    edit_of = _text("edit_of", "The message it replaces.")
    deleted = _text("deleted", "The message that is deleted.")
    reaction = _Member[Reaction | None](
        "reaction", "The reaction, where it is one.", _maybe(Reaction)
    )
    typing = _Member[bool | None]("typing", "Somebody types, or no longer; stands alone.")
    referrer = _Member[Any]("referrer", "Opaque: where the conversation came from.")
    raw = _Member[dict[str, Any] | None]("raw", "The channel's own data, under the channel's name.")


class InboundMessage(_Message):
    """What came in from a channel (``plugin.inbound.*``).

    >>> from trunkline import InboundMessage
    >>> message = InboundMessage({"text": "hi", "sender": {"id": "7"}, "mood": "good"})
    >>> message.text, message.sender.id, message.sender.name, message.json["mood"]
    ('hi', '7', None, 'good')
    """

    __slots__ = ()
    id = _text("id", "The channel's own id of the message.")
    sender = _Member[Sender]("sender", "Who said it.", _view(Sender))
    ui_action = _Member[UiAction | None](
        "ui_action", "What was pressed or chosen in a message.", _maybe(UiAction)
    )
    sent_at = _text("sent_at", "When it was said, RFC 3339.")


class OutboundMessage(_Message):
    """What is to be sent to a channel (``plugin.outbound.*``).

    >>> from trunkline import OutboundMessage
    >>> OutboundMessage({"text": "hi", "conversation": {"id": "c1"}}).conversation.id
    'c1'
    """

    __slots__ = ()
