"""Threads for handlers that block: each takes an event from the core, handles it, and takes the next.

The threads are Python's own. They wait inside the core without the GIL, and it lets them go when it
is closed, which happens before the interpreter ends.
"""

from __future__ import annotations

import inspect
import os
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from . import _core
from ._current import CURRENT
from ._errors import InvalidReturn
from ._failure import failure_of

if TYPE_CHECKING:
    from ._handler import Handler
    from ._runtime import Runtime
    from ._sync import SyncContext

THREADS_MAX = min(32, (os.cpu_count() or 1) + 4)
_JOIN_S = 0.5


class Threads:
    """The threads of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts the threads, once."""
        while len(self._threads) < THREADS_MAX:
            name = f"trunkline-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Waits a moment for the threads; one whose handler hangs is left behind."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)

    def _work(self) -> None:
        core = self._runtime.core
        while True:
            incoming = core.take_blocking()
            if incoming is None:
                return
            core.complete([(incoming.ticket, self._handle(incoming))])
            del incoming

    def _handle(self, incoming: _core.Incoming) -> Any:
        handler, owner = self._runtime.handlers[incoming.handler]
        ctx = owner.make_sync_context(self._runtime, incoming)
        try:
            return copy_context().run(_call, handler, incoming, ctx)
        except BaseException as error:
            found = error
        if isinstance(found, (KeyboardInterrupt, SystemExit)):
            self._runtime.loop.call_soon_threadsafe(self._runtime.abort, found)
        elif handler.mappers:
            mapped = handler.map_error(found)
            if not isinstance(mapped, BaseException):
                return handler.returned(mapped)
            found = mapped
        return failure_of(found)


def _call(handler: Handler, incoming: _core.Incoming, ctx: SyncContext) -> Any:
    CURRENT.set(ctx)
    function = handler.function
    if handler.takes == 0:
        value = function()
    else:
        payload = incoming.payload() if handler.form is None else handler.form(incoming)
        value = function(payload, ctx) if handler.takes == 2 else function(payload)
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise InvalidReturn(
            f"{handler.name} is a plain function that gave an awaitable; hint: declare it `async def`"
        )
    return handler.returned(value)
