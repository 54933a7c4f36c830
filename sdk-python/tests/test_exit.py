"""Processes end without a crash: at their normal end and abruptly, beside a machine that is busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from peer import Peer

# The promise is 40 and 20; a run of all checks on two cores has time for fewer.
IS_LONG = os.environ.get("TRUNKLINE_LONG") == "1"
NORMAL_RUNS = 40 if IS_LONG else 8
ABRUPT_RUNS = 20 if IS_LONG else 8

BUSY = """
import asyncio, logging, os, sys, threading, time
from trunkline import Context, Json, Plugin, Reply, SyncContext, run

logging.disable(logging.CRITICAL)
plugin = Plugin("echo")

@plugin.outbound("echo")
async def echo(payload: Json, ctx: Context) -> Reply:
    if payload["n"] % 3 == 0:
        await asyncio.sleep(0.001)
    if payload["n"] == 30:
        how = os.environ.get("HOW")
        if how == "exit":
            sys.exit(0)
        elif how == "raise":
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            raise KeyboardInterrupt
        elif how == "_exit":
            os._exit(0)
        elif how == "loop":
            asyncio.get_running_loop().stop()
    return Reply(payload)

@plugin.on("agent.sync")
def blocks(payload: Json, ctx: SyncContext) -> None:
    time.sleep(0.002)

run(plugin)
"""


@pytest.fixture(scope="module")
def busy_machine() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def flood(peer: Peer, events: int) -> None:
    peer.activate()
    for n in range(events):
        peer.event(f"e{n}", {"n": n}, session=str(n % 50))
        if n % 10 == 0:
            peer.event(f"s{n}", {"n": n}, topic="agent.sync", session=f"s{n}")


@pytest.mark.usefixtures("busy_machine")
def test_a_normal_exit_never_crashes() -> None:
    ends: list[int] = []
    for n in range(NORMAL_RUNS):
        with Peer(BUSY) as peer:
            flood(peer, 60)
            if n % 2:
                peer.close_link()
            else:
                peer.signal(signal.SIGTERM)
            ends.append(peer.wait())
    assert ends == [0] * NORMAL_RUNS


@pytest.mark.usefixtures("busy_machine")
def test_an_abrupt_exit_neither_crashes_nor_hangs() -> None:
    ends: list[tuple[str, int]] = []
    allowed = {"exit": {0}, "raise": {130, -2, 1}, "_exit": {0}, "loop": {1}}
    for n in range(ABRUPT_RUNS):
        how = ("exit", "raise", "_exit", "loop")[n % 4]
        with Peer(BUSY, env={"HOW": how}) as peer:
            flood(peer, 60)
            ends.append((how, peer.wait()))
    assert all(status in allowed[how] for how, status in ends), ends


def test_the_machine_has_the_versions_that_are_claimed() -> None:
    """Says which interpreter this run is about."""
    assert sys.version_info >= (3, 10) and os.name == "posix"
