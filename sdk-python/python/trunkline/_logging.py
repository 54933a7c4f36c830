"""Records of ``logging`` as the instance's log, and the core's own lines as records.

The core's lines arrive in ``logging.getLogger("trunkline")``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._current import CURRENT
from ._members import Log

if TYPE_CHECKING:
    from ._runtime import Runtime


class BrokerHandler(logging.Handler):
    """Writes records to the log of the instance that they come from.

    Level, logger and the event being handled go with them. What the core itself has to say goes to
    stderr: it may be about the link.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            where = None if hasattr(record, "trunkline_core") else _where()
            if where is None:
                self._print(record)
            else:
                runtime, target, fields = where
                fields["logger"] = record.name
                if record.exc_info:
                    formatter = self.formatter or logging.Formatter()
                    fields["exception"] = formatter.formatException(record.exc_info)
                level = _level(record.levelno)
                Log(runtime, target).write(level, record.getMessage(), fields)
        except Exception:
            self.handleError(record)

    def _print(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            name = getattr(record, "trunkline_target", record.name)
            text = f"{_level(record.levelno)} {name}: {record.getMessage()}\n"
            sys.stderr.write(text.encode("utf-8", "replace").decode())


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _where() -> tuple[Runtime, int, dict[str, Any]] | None:
    """Gives the instance that a record comes from, and what is known of the event."""
    from ._runtime import serving

    ctx = CURRENT.get()
    if ctx is not None:
        incoming = ctx._incoming
        fields: dict[str, Any] = {"event_id": incoming.id}
        trace = incoming.traceparent
        if trace is not None:
            fields["traceparent"] = trace
        return ctx._runtime, incoming.instance, fields
    found = serving()
    return None if found is None else (*found, {})


@contextmanager
def bridged() -> Generator[None]:
    """Installs the handler while a program runs, unless the author chose one."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = BrokerHandler()
    level = root.level
    root.addHandler(handler)
    if level == logging.WARNING:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
