"""Parts of something that arrives in pieces, and what an assembler is told of the whole."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._duration import given


class Part:
    """Is a piece of something that an assembler puts together.

    Any handler may return one, or a list of them. ``session`` and ``group`` together say what it
    is a piece of.

    Args:
        data: What it brings: any JSON.
        session: Whose it is: a conversation, a sender.
        group: Which of the session's wholes it belongs to.
        seq: Its number, from 1; parts without one stay in the order in which they came.
        total: How many there are.
        final: It is the last one.
        kind: The channel's kind, where the plugin assembles several.

    Example:
        >>> from trunkline import Part
        >>> Part("Hel", session="+4915112345", group="17", seq=1, total=2).data
        'Hel'
    """

    __slots__ = ("data", "session", "group", "seq", "total", "final", "kind")

    def __init__(
        self,
        data: Any,
        *,
        session: str,
        group: str | None = None,
        seq: int | None = None,
        total: int | None = None,
        final: bool = False,
        kind: str | None = None,
    ) -> None:
        self.data = data
        self.session = session
        self.group = group
        self.seq = seq
        self.total = total
        self.final = final
        self.kind = kind

    def __repr__(self) -> str:
        return f"Part({self.data!r}, session={self.session!r}, seq={self.seq!r})"

    @classmethod
    def of(cls, found: dict[str, Any]) -> Part:
        """Reads a part as an assembler gets it."""
        get = found.get
        return cls(
            get("data"),
            session=str(get("session")),
            group=get("group"),
            seq=get("seq"),
            total=get("total"),
            final=bool(get("final")),
            kind=get("kind"),
        )

    def _args(self) -> dict[str, Any]:
        options = given(group=self.group, seq=self.seq, total=self.total, kind=self.kind)
        return {"data": self.data, "session": self.session, "final": self.final, **options}


class Assembly(NamedTuple):
    """Is what an assembler is told beside the parts."""

    reason: str
    """``complete final silence max_age max_parts max_bytes`` or ``evicted``."""
    missing: list[int]
    """Numbers of parts that are known to be missing, ascending."""
    started_at: str
    """When the first part came, RFC 3339."""
