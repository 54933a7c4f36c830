"""Durations in options: ``"30s"``, ``"5m"``, ``"2h"``, or a ``timedelta``.

A bare number is refused by the core: seconds to one reader, milliseconds to the next.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

Duration = str | timedelta
"""A time such as ``"30s"``, or a ``timedelta``."""

Start = str | int | datetime
"""Where a subscription starts: ``"new"``, ``"earliest"``, a seq, or a time."""


def duration(value: Duration | None) -> Any:
    """Gives the form in which the core takes a duration."""
    if isinstance(value, timedelta):
        return {"ms": max(round(value.total_seconds() * 1000), 0)}
    return value


def start(value: Start) -> Any:
    """Gives the form in which the core takes a start."""
    if isinstance(value, datetime):
        return {"time": value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")}
    if isinstance(value, int):
        return {"seq": value}
    return value


def given(**options: Any) -> dict[str, Any]:
    """Keeps the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
