"""Timers: an instance is told that it is time."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from trunkline import (
    Batch,
    Context,
    InstanceContext,
    InvalidArguments,
    Plugin,
    SyncContext,
    TimerEvent,
)
from trunkline.testing import StartBroker


async def test_timers_are_set_listed_cancelled_and_come_when_they_are_due(
    test_broker: StartBroker,
) -> None:
    """Proves LN27, P6c, Python part: interval, one-shot and cron by one API, for coroutines and threads."""
    plugin = Plugin("news")
    seen: list[Any] = []

    @plugin.timer("digest", every="1h", data={"chat": 7})
    async def digest(timer: TimerEvent, ctx: Context) -> None:
        seen.append((timer.name, timer.data, timer.missed))

    @plugin.timer("remind/*")
    def remind(timer: TimerEvent, ctx: SyncContext) -> Batch | None:
        seen.append((timer.name, timer.data))
        if timer.data < 2:
            return Batch().timer_set(timer.name, after="1m", data=timer.data + 1)
        assert ctx.timer.cancel("never")
        assert [each.name for each in ctx.timer.list("n")] == ["noon"]
        return None

    @plugin.on_start
    async def start(ctx: InstanceContext) -> None:
        await ctx.timer.set("remind/a", after="5m", data=1)
        await ctx.timer.set("never", at=datetime(2099, 1, 1, tzinfo=timezone.utc))
        noon = await ctx.timer.set("noon", cron="0 12 * * *", tz="Europe/Berlin")
        assert noon.due_at and noon.due_at[11:].startswith(("10:00:00", "11:00:00"))
        assert [each.name for each in await ctx.timer.list("n")] == ["never", "noon"]
        with pytest.raises(InvalidArguments, match="found 10 ms"):
            await ctx.timer.set("x", every="10ms")
        with pytest.raises(InvalidArguments, match="engine"):
            await ctx.timer.set("engine.x", every="10m")

    broker = await test_broker(plugin)
    await broker.advance("5m")
    await broker.advance("1m")
    assert seen == [("remind/a", 1), ("remind/a", 2)]
    await broker.advance("54m")
    await broker.advance("1h")
    assert seen[2:] == [("digest", {"chat": 7}, 0)] * 2


async def test_the_example_of_the_guide_works(test_broker: StartBroker) -> None:
    repository = Path(os.environ.get("TRUNKLINE_ROOT", Path(__file__).parents[2]))
    guide = repository / "docs" / "timers.md"
    (block,) = re.findall(r"```python\n(.*?)```", guide.read_text(), re.S)
    names: dict[str, Any] = {}
    exec(compile(block, guide.name, "exec"), names)
    broker = await test_broker(names["plugin"])
    await broker.publish("agent.remind", {"id": 7, "text": "call back"})
    await broker.settle()
    await broker.advance("5m")
    await broker.expect_published("agent.reminder", {"id": 7}, within="5s")
