"""The test broker itself: planted deaths, faults, a broker that starts again."""

from __future__ import annotations

import pytest
from trunkline import Context, Event, Json, OutboundMessage, Plugin, Reply, StorageFull
from trunkline.testing import StartBroker


async def test_killed_before_or_after_the_commit_an_event_is_handled_once_in_effect(
    test_broker: StartBroker,
) -> None:
    """Proves LN52: a plugin's process dies where a pytest test says, and nothing is lost or said twice."""
    plugin = Plugin("p")
    handled = 0

    @plugin.outbound("p")
    async def echo(payload: Json, ctx: Context) -> Reply:
        nonlocal handled
        handled += 1
        assert ctx.delivery is not None
        return Reply({"attempt": ctx.delivery.attempt})

    broker = await test_broker(plugin)
    for at in ("before_commit", "after_commit", "in_handler"):
        broker.kill(at=at)
        await broker.send("p", "x", to=at)
        await broker.expect_published("plugin.inbound.p.*", within="5m")
        await broker.expect_nothing("plugin.inbound.p.*", within="5m")
    assert handled >= 4


@pytest.mark.parametrize("fault", ["duplicate", "drop_ack", "link_lost"])
async def test_a_fault_of_the_link_publishes_nothing_twice(
    test_broker: StartBroker, fault: str
) -> None:
    """Proves LN52: an event that is handed over twice, a lost ack and a lost link, in a pytest test."""
    plugin = Plugin("p")
    handled: list[str] = []

    @plugin.outbound("p")
    async def echo(message: OutboundMessage) -> Reply:
        handled.append(str(message.text))
        return Reply({"text": message.text})

    broker = await test_broker(plugin)
    for text in ("one", "two"):
        broker.fault(fault)
        await broker.send("p", text, to=text)
        await broker.expect_published("plugin.inbound.p.*", {"text": text}, within="5m")
        await broker.expect_nothing("plugin.inbound.p.*", {"text": text}, within="5m")
    assert set(handled) == {"one", "two"}
    assert not await broker.dead_letters()


async def test_a_full_store_is_an_error_with_its_code(test_broker: StartBroker) -> None:
    """Proves LN52: a refusal as often as the test says, which a handler can catch; what it returns is tried again."""
    plugin = Plugin("p")
    codes: list[tuple[str, bool]] = []

    @plugin.on("agent.f")
    async def publishes(payload: Json, ctx: Context) -> None:
        for _ in range(3):
            try:
                await ctx.publish("agent.g", payload)
            except StorageFull as error:
                codes.append((error.code, error.retryable))

    @plugin.on("agent.h")
    async def returns(payload: Json) -> Event[Json]:
        return Event("agent.i", payload)

    broker = await test_broker(plugin)
    broker.fault("storage_full", times=2)
    await broker.publish("agent.f", 1)
    await broker.settle()
    assert codes == [("storage_full", True)] * 2
    await broker.expect_published("agent.g")

    broker.fault("storage_full")
    await broker.publish("agent.h", 2)
    assert (await broker.expect_published("agent.i", within="5m")).payload == 2
    assert not await broker.dead_letters()


async def test_a_broker_that_is_started_again_has_what_was_durable(
    test_broker: StartBroker,
) -> None:
    """Proves LN52: the broker dies and comes back, in a pytest test."""
    plugin = Plugin("p")
    starts = 0

    @plugin.on_start
    async def start(ctx: object) -> None:
        nonlocal starts
        starts += 1

    @plugin.on("agent.kv")
    async def count(payload: Json, ctx: Context) -> Event[Json]:
        return Event("agent.count", {"n": await ctx.kv.update("n", lambda n: (n or 0) + 1)})

    broker = await test_broker(plugin)
    await broker.publish("agent.kv", {})
    await broker.expect_published("agent.count", {"n": 1})
    await broker.restart()
    await broker.publish("agent.kv", {})
    await broker.expect_published("agent.count", {"n": 2}, within="1m")
    assert starts == 2
