"""Exceptions of the author's code, as the core takes them: what, where, and the way there."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Iterator
from functools import cache
from types import TracebackType
from typing import Any

from ._errors import TrunklineError, to_core
from ._outcome import Outcome, outcome_of

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


@cache
def _foreign() -> tuple[str, ...]:
    # Needed when something failed, and slow to import.
    import sysconfig

    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return ("<", *(os.path.abspath(paths[name]) + os.sep for name in names if name in paths))


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def location_of(error: BaseException) -> str | None:
    """Gives ``file:line`` of the author's innermost frame; of any, when there is none."""
    frames = [frame for frame in _frames(error.__traceback__) if not frame[0].startswith(_OWN)]
    own = [frame for frame in frames if not frame[0].startswith(_foreign())]
    for file, line in reversed(own or frames):
        near = os.path.relpath(file) if os.path.isabs(file) else file
        return f"{file if near.startswith('..') else near}:{line}"
    return None


def failure_of(error: BaseException) -> Any:
    """Gives the form in which the core takes what a handler raised."""
    if isinstance(error, Outcome):
        return outcome_of(error)
    if isinstance(error, TrunklineError):
        return {"error": {**to_core(error), **_place(error)}}
    message = str(error)
    if isinstance(error, asyncio.CancelledError) and not message:
        message = "the handler was cancelled"
    return {"failed": {"kind": type(error).__name__, "message": _text(message), **_place(error)}}


def _place(error: BaseException) -> dict[str, str | None]:
    """Gives where it happened: the author's line, and the calls that led there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    location = location_of(error)
    return {"location": location and _text(location), "traceback": _text("".join(lines))}


def _text(text: str) -> str:
    """Replaces what has no JSON form, such as half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
