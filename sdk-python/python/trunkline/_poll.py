"""What pollers are told of a list, and what they hand over of a feed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypedDict


class _Way(TypedDict):
    by: Literal["link", "url", "token", "page"]
    """``link``: the header ``Link``; ``url``: an address in the answer; ``token``: a token in the
    answer; ``page``: numbers."""


class Paginate(_Way, total=False):
    """Says how the pages of a list follow each other."""

    path: str
    """Where in the answer: for ``url`` and ``token``."""
    param: str
    """The query parameter that takes the token or the number."""
    start: int
    """The first page's number; 1 unless said."""


class _Place(TypedDict):
    url: str
    """Where it is; may hold ``{config.<key>}``."""
    id_field: str
    """Where in an item its id is: text or a number."""


class JsonList(_Place, total=False):
    """Declares a list of JSON items over HTTP."""

    items_path: str
    """Where in the answer the items are: a JSON pointer or names with dots; else the answer is the list."""
    cursor_field: str
    """Where in an item the cursor is: text or a number that grows."""
    since_param: str
    """The query parameter that says from which cursor on."""
    paginate: Paginate
    """How pages follow each other; else there is one."""
    pages_max: int
    """Most pages of one tick; 10 unless said, at most 100."""


class _Whom(TypedDict):
    kind: str
    """The channel's kind; the plugin needs a grant to send to it."""
    to: str
    """The conversation; may hold ``{config.<key>}``."""


class PollAlert(_Whom, total=False):
    """Says whom to tell of a poller that stops, is left alone, or goes on again."""

    instance: str
    """The channel's instance; else the one the conversation came in by, or the only one."""


@dataclass(frozen=True)
class Enclosure:
    """Is a file that belongs to an item of a feed."""

    url: str
    """Where it is; absolute."""
    media_type: str | None = None
    """Its media type, as the feed says."""
    bytes: int | None = None
    """Its length, as the feed says."""


@dataclass(frozen=True)
class FeedItem:
    """Is one item of a feed, whatever the feed's format.

    Example:
        >>> from trunkline import FeedItem
        >>> FeedItem(id="a", title="Hello").title
        'Hello'
    """

    id: str
    """The feed's own id of it; where there is none, a hash of link and title."""
    title: str | None = None
    """The title, as text."""
    link: str | None = None
    """Where it can be read; absolute."""
    summary: str | None = None
    """A short form, as the feed has it: text or HTML, not cleaned."""
    content: str | None = None
    """The whole, as the feed has it: text or HTML, not cleaned."""
    authors: list[str] = field(default_factory=list[str])
    """Who wrote it; those of the feed where it has none."""
    categories: list[str] = field(default_factory=list[str])
    """Its categories or tags."""
    published: str | None = None
    """When it appeared: RFC 3339, UTC."""
    updated: str | None = None
    """When it last changed: RFC 3339, UTC."""
    enclosures: list[Enclosure] = field(default_factory=list[Enclosure])
    """What belongs to it: sound, pictures, files."""
    truncated: bool = False
    """Whether summary or content were cut."""
