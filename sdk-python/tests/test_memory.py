"""Memory is bounded by the credit, and nothing grows."""

from __future__ import annotations

import os
from pathlib import Path

from peer import Peer

SLOW = """
import asyncio
from trunkline import Plugin, run
plugin = Plugin("echo")
@plugin.outbound("echo")
async def echo(payload):
    await asyncio.sleep(0.0005)
run(plugin)
"""
QUICK = """
from trunkline import Json, Plugin, Reply, run
plugin = Plugin("echo")
@plugin.outbound("echo")
async def echo(payload: Json) -> Reply:
    return Reply(payload)
run(plugin)
"""
PAYLOAD = {"text": "x" * 900, "list": list(range(20))}
IS_LONG = os.environ.get("TRUNKLINE_LONG") == "1"


def rss_kb(peer: Peer) -> int:
    status = Path(f"/proc/{peer.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def counts(peer: Peer) -> tuple[int, int]:
    process = Path(f"/proc/{peer.process.pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def drive(peer: Peer, events: int, window: int) -> int:
    """Keeps a window of events in flight; gives the highest RSS seen, in KiB."""
    sent = done = highest = 0
    while done < events:
        while sent < events and sent - done < window:
            peer.event(f"e{sent}", PAYLOAD, session=str(sent % 97))
            sent += 1
        peer.commit()
        done += 1
        if done % 500 == 0:
            highest = max(highest, rss_kb(peer))
    return highest


def test_a_flood_to_a_slow_handler_costs_no_more_than_the_credit() -> None:
    window, size = 256, 1300
    with Peer(SLOW) as peer:
        accepts = peer.activate()["accepts"]
        assert accepts["events"] >= window
        drive(peer, 500, window)
        before = rss_kb(peer)
        highest = drive(peer, 20_000 if IS_LONG else 5_000, window)
        assert highest - before <= 10_240 + window * size // 1024, (before, highest)


def test_a_soak_leaves_memory_descriptors_and_threads_as_they_were() -> None:
    # The short form still warms up in its quarters; the promise is the long form's.
    quarter, allowed = (125_000, 3 * 1024) if IS_LONG else (4_000, 8 * 1024)
    with Peer(QUICK) as peer:
        peer.activate()
        drive(peer, quarter, 64)
        first, counted = rss_kb(peer), counts(peer)
        for _ in range(3):
            drive(peer, quarter, 64)
        assert rss_kb(peer) <= first + allowed, (first, rss_kb(peer))
        assert counts(peer) == counted


def test_an_idle_plugin_is_small_and_ready_soon() -> None:
    """The figures are the bench's; here only what would be a mistake."""
    with Peer(QUICK) as peer:
        peer.activate()
        assert rss_kb(peer) <= 40 * 1024
