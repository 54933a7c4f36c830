"""Runs handlers on the loop: events of one batch one after the other, in one task, as long as none
of them waits.

A handler that waits keeps the task it runs in, and a new task takes the rest of the batch. So
every handler has a task of its own where that can be seen (``asyncio.current_task``, ``timeout``,
``TaskGroup``, cancelling), and one that never waits costs none. Each event has its own copy of the
context variables.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context as Variables
from contextvars import copy_context
from operator import length_hint
from typing import TYPE_CHECKING, Any

from . import _core
from ._current import CURRENT
from ._errors import Cancelled, to_core
from ._failure import failure_of

if TYPE_CHECKING:
    from ._context import Context
    from ._handler import Handler
    from ._runtime import Runtime

_EAGER = sys.version_info >= (3, 12)
_CANCELLED = {"error": to_core(Cancelled("the handler was cancelled"))}
_END = (KeyboardInterrupt, SystemExit)


class Runner:
    """Runs the handlers of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._done: list[tuple[int, Any]] = []
        self._is_flush_due = False
        self._has_calls = False
        self._running: dict[int, asyncio.Task[None]] = {}

    # What is decided goes back together.

    def complete(self, ticket: int, outcome: Any) -> None:
        """Gives an outcome back with the others of this turn of the loop."""
        self._done.append((ticket, outcome))
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)

    def call(self, op: int, target: int, name: str, args: Any) -> None:
        """Asks the core for something, together with what else this turn of the loop asks for."""
        self._runtime.core.call(op, target, name, args)
        self._has_calls = True
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Gives back what was decided, and sends what was asked for."""
        self._is_flush_due = False
        done = self._done
        if done:
            self._done = []
            self._runtime.core.complete(done)
        elif self._has_calls:
            self._runtime.core.flush()
        self._has_calls = False

    def cancel(self, ticket: int) -> None:
        """Cancels a handler or hook that waits. One that has not begun is not begun."""
        task = self._running.get(ticket)
        if task is not None:
            task.cancel()

    def end(self) -> None:
        """Cancels what still runs."""
        if not self._loop.is_closed():
            for task in list(self._running.values()):
                task.cancel()

    # Events

    def take(self, events: list[_core.Incoming], is_late: bool = False) -> None:
        """Handles a batch of events."""
        handlers = self._runtime.handlers
        together: list[_core.Incoming] = []
        for incoming in events:
            # A handler that waited the last time most likely waits again.
            if handlers[incoming.handler][0].waits:
                self._spawn([incoming], is_late)
            else:
                together.append(incoming)
        if together:
            self._spawn(together, is_late)

    def _spawn(self, events: list[_core.Incoming], is_late: bool) -> None:
        runner = self._run(iter(events), is_late)
        if _EAGER:
            task = asyncio.Task(runner, loop=self._loop, eager_start=True)  # type: ignore[call-arg, unused-ignore]
        else:
            task = asyncio.Task(runner, loop=self._loop)
        del task

    async def _run(self, events: Iterator[_core.Incoming], is_late: bool) -> None:
        await self._drive(events, is_late)

    @types.coroutine
    def _drive(self, events: Iterator[_core.Incoming], is_late: bool) -> Generator[Any, Any, None]:
        runtime = self._runtime
        handlers = runtime.handlers
        task: Any = asyncio.current_task(self._loop)
        # Until it waits or ends, this task sends what was decided and asked for.
        is_flushing = not self._is_flush_due
        self._is_flush_due = True
        for incoming in events:
            ticket = incoming.ticket
            if is_late and incoming.is_cancelled:
                self._done.append((ticket, _CANCELLED))
                continue
            handler, owner = handlers[incoming.handler]
            ctx = owner.make_context(runtime, incoming)
            variables = copy_context()
            try:
                waits_for = variables.run(_begin, handler, incoming, ctx)
            except StopIteration as stop:
                value = stop.value
                handler.waits = False
                self._done.append((ticket, None if value is None else handler.returned(value)))
            except BaseException as error:
                self._done.append((ticket, self._failed(handler, error)))
            else:
                handler.waits = True
                self._rest(events)
                if is_flushing:
                    if self._running:
                        # After the first steps of the others, which are due before it.
                        self._loop.call_soon(self.flush)
                    else:
                        self.flush()
                yield from self._step(task, handler, ctx, variables, waits_for)
                return
            if task._must_cancel:
                # The handler cancelled its task as it ended: the next one gets another.
                break
        self._rest(events)
        if is_flushing:
            self.flush()

    def _rest(self, events: Iterator[_core.Incoming]) -> None:
        """Lets other tasks take what is left of a batch."""
        if length_hint(events):
            self._loop.call_soon(self.take, list(events), True)

    def _step(
        self,
        task: asyncio.Task[None],
        handler: Handler,
        ctx: Context,
        variables: Variables,
        waits_for: Any,
    ) -> Generator[Any, Any, None]:
        """Goes on with a handler that waits; the task is its own now."""
        ticket = ctx.ticket
        coroutine = ctx.coroutine
        step: Callable[[Any], Any]
        self._running[ticket] = task
        try:
            while True:
                try:
                    value = yield waits_for
                    step = coroutine.send
                except GeneratorExit:
                    variables.run(coroutine.close)
                    raise
                except BaseException as error:
                    value = error
                    step = coroutine.throw
                waits_for = variables.run(step, value)
        except StopIteration as stop:
            self.complete(ticket, handler.returned(stop.value))
        except GeneratorExit:
            raise
        except asyncio.CancelledError as error:
            # Of the core's wish, or of the author's own doing.
            was_asked = ctx.cancelled
            self.complete(ticket, _CANCELLED if was_asked else self._failed(handler, error))
        except BaseException as error:
            self.complete(ticket, self._failed(handler, error))
        finally:
            del self._running[ticket]
            if not self._running:
                # Nobody is left who could have more to send in this turn.
                self.flush()

    def _failed(self, handler: Handler, error: BaseException) -> Any:
        if isinstance(error, _END):
            # The author's code wants the process to end: in order, and with its status.
            self._runtime.abort(error)
        elif handler.mappers:
            found = handler.map_error(error)
            if not isinstance(found, BaseException):
                return handler.returned(found)
            error = found
        return failure_of(error)

    # Hooks

    def hook(self, ticket: int, called: Coroutine[Any, Any, Any]) -> None:
        """Waits for a hook, and gives back its value."""
        task = self._loop.create_task(self._hook(ticket, called))
        self._running[ticket] = task

    async def _hook(self, ticket: int, called: Coroutine[Any, Any, Any]) -> None:
        try:
            outcome = {"state": await called}
        except BaseException as error:
            outcome = failure_of(error)
            if isinstance(error, _END):
                self._runtime.abort(error)
        finally:
            self._running.pop(ticket, None)
        self.complete(ticket, outcome)


def _begin(handler: Handler, incoming: _core.Incoming, ctx: Context) -> Any:
    """Begins a handler within its own context variables; gives what it waits for."""
    CURRENT.set(ctx)
    takes = handler.takes
    if takes:
        form = handler.form
        payload = incoming.payload() if form is None else form(incoming)
        coroutine = handler.function(payload, ctx) if takes == 2 else handler.function(payload)
    else:
        coroutine = handler.function()
    ctx.coroutine = coroutine
    return coroutine.send(None)
