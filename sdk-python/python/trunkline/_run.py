"""Running plugins and clients: the loop, signals, logging, the exit status."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from ._errors import InvalidArguments, TrunklineError, exit_status
from ._logging import bridged
from ._runtime import Runtime


class Runnable(Protocol):
    """Is a plugin, a client or an adapter, as :func:`run` and :func:`serve` take them."""

    async def serve_on(self, runtime: Runtime) -> None:
        """Serves until it is to stop."""

    def stop(self, reason: str = "") -> None:
        """Ends it in order."""


def run(*what: Runnable) -> None:
    """Runs plugins and clients until they are told to stop; the whole main.

    A plugin takes the link it was given (``TRUNKLINE_LINK_FD``, else stdio that is a pipe); started
    by hand it attaches to the local daemon. SIGINT and SIGTERM stop it in order. Records of
    ``logging`` become the instance's log, unless the root logger has a handler already.

    Args:
        what: What to run.

    Raises:
        SystemExit: It failed; with the exit status of the error.
    """
    out: Any = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        # What a plugin prints is its log, and a log is read while it is written.
        out.reconfigure(line_buffering=True)
    try:
        with bridged():
            asyncio.run(_main(what))
    except TrunklineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_status(error))


async def serve(*what: Runnable) -> None:
    """Does the same as :func:`run` on the loop that it is called on, and leaves signals alone.

    Cancelling it stops everything in order.

    Args:
        what: What to run.

    Raises:
        TrunklineError: What keeps it from starting, and what ``on_stop`` failed with.
    """
    if not what:
        raise InvalidArguments("expected a plugin or a client to serve")
    runtime = Runtime.current()
    runtime.enter()
    serving = [asyncio.create_task(_serve(each, runtime)) for each in what]
    try:
        await _all(what, serving)
    finally:
        runtime.leave()
    if runtime.exit is not None:
        raise runtime.exit


async def _all(what: Sequence[Runnable], serving: list[asyncio.Task[None]]) -> None:
    """Waits for all; when one fails, or this is cancelled, the others are stopped in order."""
    cancelled: asyncio.CancelledError | None = None
    pending = set(serving)
    while pending:
        try:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError as error:
            cancelled = error
        if pending and (cancelled is not None or any(_has_failed(each) for each in serving)):
            for each, one in zip(what, serving, strict=True):
                if not one.done():
                    each.stop()
    if cancelled is not None:
        raise cancelled
    for one in serving:
        one.result()


def _has_failed(serving: asyncio.Task[None]) -> bool:
    return serving.done() and (serving.cancelled() or serving.exception() is not None)


async def _serve(what: Runnable, runtime: Runtime) -> None:
    await what.serve_on(runtime)


async def _main(what: Sequence[Runnable]) -> None:
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        # Signals are the main thread's, which is not ours here.
        await serve(*what)
        return

    def stop(number: int) -> None:
        for each in what:
            each.stop(signal.Signals(number).name)
        if number == signal.SIGINT:
            # Who asks twice does not want to wait.
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await serve(*what)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
