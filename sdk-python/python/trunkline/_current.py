"""The event that is being handled, for log records."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._context import Context
    from ._sync import SyncContext

CURRENT: ContextVar[Context | SyncContext | None] = ContextVar("trunkline_event", default=None)
