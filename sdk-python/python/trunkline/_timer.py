"""Timers: the instance is told that it is time, by an event that is handled like every other one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ._duration import Duration, duration, given

if TYPE_CHECKING:
    from ._runtime import Runtime


def instant(at: str | datetime | None) -> str | None:
    """Gives the form in which the core takes an instant."""
    if isinstance(at, datetime):
        return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    return at


def schedule_args(
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
) -> dict[str, Any]:
    """Gives the form in which the core takes a schedule."""
    return given(
        after=duration(after),
        every=duration(every),
        at=instant(at),
        cron=cron,
        tz=tz,
        jitter=duration(jitter),
        misfire=misfire,
        data=data,
        session=session,
        keep=keep or None,
    )


@dataclass(frozen=True)
class TimerSet:
    """Is what became of a timer that was set."""

    due_at: str | None
    """When it is due first, RFC 3339; none where an ``at`` that is past was left unset by ``keep``."""
    kept: bool
    """It was left as it was."""


@dataclass(frozen=True)
class TimerEntry:
    """Is a timer that is set."""

    name: str
    """Its name."""
    due_at: str
    """When it is due next, RFC 3339."""
    running: bool
    """An event of it is not settled yet."""
    set: dict[str, Any]
    """How it was set, in the words of the contract: ``every_ms``, ``cron``, ``data`` and so on."""

    @classmethod
    def _of(cls, found: dict[str, Any]) -> TimerEntry:
        running = found.get("running", False)
        return cls(found["set"]["name"], found["due_at"], running, found["set"])


class TimerEvent:
    """Is a due time, as the handler of a timer gets it.

    Args:
        fired: Its JSON form: ``name due_at data missed``.

    Example:
        >>> from trunkline import TimerEvent
        >>> TimerEvent({"name": "digest", "due_at": "2026-03-01T09:00:00.000Z", "data": 7}).data
        7
    """

    __slots__ = ("_fired",)

    def __init__(self, fired: Mapping[str, Any]) -> None:
        self._fired = fired

    def __repr__(self) -> str:
        return f"TimerEvent({self.name!r}, due at {self.due_at})"

    @property
    def name(self) -> str:
        """The timer."""
        return str(self._fired["name"])

    @property
    def due_at(self) -> str:
        """When it was due, RFC 3339."""
        return str(self._fired["due_at"])

    @property
    def data(self) -> Any:
        """What the timer was set with."""
        return self._fired.get("data")

    @property
    def missed(self) -> int:
        """Due times before this one that are not made up for."""
        return int(self._fired.get("missed", 0))


class Timers:
    """The timers of an instance; the broker keeps them."""

    __slots__ = ("_runtime", "_target")

    def __init__(self, runtime: Runtime, target: int) -> None:
        self._runtime = runtime
        self._target = target

    async def set(
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
    ) -> TimerSet:
        """Sets a timer, in place of one of the same name. One of ``after``, ``every``, ``at``, ``cron``.

        Args:
            name: Its name.
            after: Once, this long from now.
            every: Again and again, with this interval, at least 1 s.
            at: Once, at this instant: RFC 3339 or a ``datetime``.
            cron: Where the clocks match: 5 or 6 fields, or ``@hourly`` and its like.
            tz: Whose clocks, for ``cron``: an IANA zone; else UTC.
            jitter: How much later than it is due each event may come.
            misfire: ``once``, ``skip`` or ``all``: what becomes of due times that passed.
            data: What the events bring.
            session: Which conversation the events belong to; else ``timer:<name>``.
            keep: Leaves a timer that was set with the same words as it is.

        Raises:
            InvalidArguments: It is no schedule.
            QuotaExceeded: The instance has too many.
        """
        schedule = schedule_args(after, every, at, cron, tz, jitter, misfire, data, session, keep)
        args = {"name": name, "schedule": schedule}
        return TimerSet(**await self._runtime.call(self._target, "timer.set", args))

    async def cancel(self, name: str) -> bool:
        """Cancels a timer; ``False`` where there was none. What it gave before still comes."""
        return bool(await self._runtime.call(self._target, "timer.cancel", {"name": name}))

    async def list(self, prefix: str = "") -> list[TimerEntry]:
        """Gives the timers whose names begin with ``prefix``, by name."""
        found = await self._runtime.call(self._target, "timer.list", {"prefix": prefix})
        return [TimerEntry._of(each) for each in found]


class SyncTimers:
    """The timers of an instance, for functions that block; see :class:`Timers`."""

    __slots__ = ("_runtime", "_target")

    def __init__(self, runtime: Runtime, target: int) -> None:
        self._runtime = runtime
        self._target = target

    def set(
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
    ) -> TimerSet:
        """Sets a timer; see :meth:`Timers.set`."""
        schedule = schedule_args(after, every, at, cron, tz, jitter, misfire, data, session, keep)
        args = {"name": name, "schedule": schedule}
        return TimerSet(**self._runtime.call_blocking(self._target, "timer.set", args))

    def cancel(self, name: str) -> bool:
        """Cancels a timer; ``False`` where there was none."""
        args = {"name": name}
        return bool(self._runtime.call_blocking(self._target, "timer.cancel", args))

    def list(self, prefix: str = "") -> list[TimerEntry]:
        """Gives the timers whose names begin with ``prefix``, by name."""
        args = {"prefix": prefix}
        found = self._runtime.call_blocking(self._target, "timer.list", args)
        return [TimerEntry._of(each) for each in found]
