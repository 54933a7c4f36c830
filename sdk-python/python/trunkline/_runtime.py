"""The core on an event loop: it is drained when it wakes the loop, and told what was decided.

One runtime per loop, made when it is first needed and ended with its last user. The core's threads
know nothing of Python: everything below happens on the loop's thread, except for handlers that
block (:mod:`._threads`).
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import os
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from . import _core
from ._errors import InvalidArguments, LinkLost, TrunklineError
from ._failure import failure_of
from ._runner import Runner
from ._threads import Threads

if TYPE_CHECKING:
    from ._context import Context
    from ._handler import Handler
    from ._sync import SyncContext

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_GRACE_MS = 2_000
_ALL: weakref.WeakSet[Runtime] = weakref.WeakSet()
_OPS = itertools.count(1)


class Owner:
    """Is what handlers and hooks belong to: a plugin or a client, bound to a runtime."""

    name: str
    """How it is called in messages."""

    def make_context(self, runtime: Runtime, incoming: _core.Incoming) -> Context:
        """Makes the context of an event."""
        raise NotImplementedError

    def make_sync_context(self, runtime: Runtime, incoming: _core.Incoming) -> SyncContext:
        """Makes the context of an event for a function that blocks."""
        raise NotImplementedError

    def hook(self, runtime: Runtime, name: str, target: int, arg: Any) -> Coroutine[Any, Any, Any]:
        """Calls a hook; gives its value."""
        raise NotImplementedError

    def stop(self, reason: str = "") -> None:
        """Ends it in order."""
        raise NotImplementedError


class Runtime:
    """Is the core on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        _check_interpreter()
        self.loop = loop
        self.core = _core.Core()
        self.handlers: dict[int, tuple[Handler, Owner]] = {}
        self.owners: dict[int, Owner] = {}
        self.tested: Owner | None = None
        self.states: dict[int, Any] = {}
        self.stopping: set[int] = set()
        self.misuses: list[str] = []
        self.exit: BaseException | None = None
        self.runner = Runner(self)
        self.threads = Threads(self)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._functions: dict[int, Callable[[Any], Any]] = {}
        self._numbers = itertools.count(1)
        self._users = 0
        self.is_forked = False
        self.is_closed = False
        self._log = logging.getLogger("trunkline")
        loop.add_reader(self.core.fileno(), self._drain)
        _ALL.add(self)

    # Users

    @classmethod
    def current(cls) -> Runtime:
        """Gives the runtime of the running loop."""
        loop = asyncio.get_running_loop()
        for runtime in list(_ALL):
            if runtime.loop is loop and not runtime.is_closed:
                runtime.check()
                return runtime
        return cls(loop)

    def check(self) -> None:
        """Refuses to work in a child of ``fork``, and when it is closed."""
        if self.is_forked:
            raise TrunklineError(
                "the core was started before this process was forked; "
                'hint: use the start method "spawn", or start it in the child'
            )
        if self.is_closed:
            raise LinkLost("the core is closed")

    def enter(self) -> None:
        """Counts a user."""
        self._users += 1

    def leave(self) -> None:
        """Ends with its last user."""
        self._users -= 1
        if self._users <= 0:
            self.close()

    def close(self, grace_ms: int = _GRACE_MS) -> None:
        """Ends the core; may be called from another thread than the loop's at exit."""
        if self.is_closed or self.is_forked:
            return
        self.is_closed = True
        self.runner.flush()
        if not self.loop.is_closed():
            self.loop.remove_reader(self.core.fileno())
        self.core.close(grace_ms)
        self.threads.join()
        self.runner.end()
        for call in self._calls.values():
            if not call.done() and not self.loop.is_closed():
                call.set_exception(LinkLost("the core is closed"))
                # Whoever waited for it may be gone already.
                call.exception()
        self._calls.clear()

    # Declarations

    def handler(self, handler: Handler, owner: Owner) -> int:
        """Gives a handler its number."""
        number = next(self._numbers)
        self.handlers[number] = (handler, owner)
        if handler.is_sync:
            self.threads.start()
        return number

    def declare(self, what: str, spec: dict[str, Any], owner: Owner) -> int:
        """Declares a plugin or a client; gives its handle."""
        handle: int = self.core.tell(0, what, spec)
        self.owners[handle] = owner
        return handle

    # Calls

    async def call(self, target: int, name: str, args: Any) -> Any:
        """Asks for something, and waits for the answer."""
        loop = self.loop
        if asyncio.get_running_loop() is not loop:
            raise InvalidArguments(
                "this belongs to another event loop; hint: a thread calls `SyncContext`, "
                "or uses `asyncio.run_coroutine_threadsafe`"
            )
        if self.is_forked or self.is_closed:
            self.check()
        op = next(_OPS)
        self.runner.call(op, target, name, args)
        answer: asyncio.Future[Any] = loop.create_future()
        self._calls[op] = answer
        try:
            return await answer
        except asyncio.CancelledError:
            if self._calls.pop(op, None) is not None and not self.is_closed:
                self.core.cancel(op)
            raise

    def call_blocking(self, target: int, name: str, args: Any) -> Any:
        """Asks for something from a thread that may wait."""
        self.check()
        return self.core.call_blocking(target, name, args)

    def tell(self, target: int, name: str, args: Any = None) -> Any:
        """Tells something; it never waits."""
        if self.is_forked:
            self.check()
        return self.core.tell(target, name, {} if args is None else args)

    def forget(self, handle: int) -> None:
        """Lets go of a handle."""
        if not self.is_closed and not self.is_forked:
            self.core.tell(handle, "forget", {})

    def function(self, function: Callable[[Any], Any]) -> int:
        """Gives a function its number, until :meth:`drop`."""
        number = next(_OPS)
        self._functions[number] = function
        return number

    def drop(self, number: int) -> None:
        """Forgets a function."""
        self._functions.pop(number, None)

    def abort(self, error: BaseException) -> None:
        """Ends everything in order because a handler wants the program to exit."""
        self.exit = error
        for owner in list(self.owners.values()):
            owner.stop("the program wants to exit")

    # What arrives

    def _drain(self) -> None:
        events, rest = self.core.drain()
        if rest:
            self._take(rest)
        if events:
            self.runner.take(events)

    def _take(self, messages: Iterable[Any]) -> None:
        for message in messages:
            kind = message[0]
            if kind == 3 or kind == 4:
                call = self._calls.pop(message[1], None)
                if call is None or call.done():
                    continue
                if kind == 3:
                    call.set_result(message[2])
                else:
                    call.set_exception(message[2])
            elif kind == 2:
                self.runner.cancel(message[1])
            elif kind == 1:
                self._invoke(*message[1:])
            elif kind == 5:
                self._record(*message[1:])

    def _invoke(self, ticket: int, function: str | int, target: int, plugin: int, arg: Any) -> None:
        if isinstance(function, int):
            self.runner.complete(ticket, self._apply(function, arg))
            return
        owner = self.owners.get(plugin)
        if owner is None:
            self.runner.complete(ticket, {"state": None})
            return
        self.runner.hook(ticket, owner.hook(self, function, target, arg))

    def _apply(self, number: int, arg: Any) -> Any:
        try:
            return {"state": self._functions[number](arg)}
        except Exception as error:
            return failure_of(error)

    def _record(self, level: str, target: str, message: str, fields: dict[str, Any]) -> None:
        if self.tested is not None and fields.get("code") == "invalid_return":
            self.misuses.append(str(fields.get("error") or message))
        log = self._log
        number = _LEVELS.get(level, logging.ERROR)
        if log.isEnabledFor(number):
            texts = "".join(f" {name}={value}" for name, value in fields.items())
            extra = {"trunkline_core": True, "trunkline_target": target, "fields": fields}
            log.log(number, "%s%s", message, texts, extra=extra)


def _check_interpreter() -> None:
    """Refuses subinterpreters: the extension is loaded once for the whole process."""
    interpreters: Any = sys.modules.get("_interpreters") or sys.modules.get("_xxsubinterpreters")
    if interpreters is None:
        name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
        try:
            interpreters = __import__(name)
        except ImportError:
            return
    if interpreters.get_current() != interpreters.get_main():
        raise TrunklineError("a subinterpreter cannot use trunkline; hint: use a process instead")


def serving() -> tuple[Runtime, int] | None:
    """Gives a plugin that is served, for what belongs to no event."""
    for runtime in list(_ALL):
        if not runtime.is_closed:
            for handle in runtime.owners:
                return runtime, handle
    return None


def _close_all() -> None:
    # Threads that wait in the core must be back in Python before the interpreter goes.
    for runtime in list(_ALL):
        # No loop turns any more that could end something in order.
        runtime.close(0)


def _forked() -> None:
    # The child has the objects, and none of the threads.
    for runtime in list(_ALL):
        runtime.is_forked = True


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)
