"""How handlers run: in parallel and in order, with a task and context variables of their own."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from typing import Any

import pytest
from trunkline import (
    Client,
    Context,
    Json,
    OutboundMessage,
    Plugin,
    Reply,
    SyncContext,
    TrunklineError,
)
from trunkline.testing import StartBroker

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="outside")


async def test_sessions_run_in_parallel_and_each_in_order(test_broker: StartBroker) -> None:
    """Proves LN9, Python part: a conversation stays in order while others go on."""
    plugin = Plugin("echo")
    gates = {name: asyncio.Event() for name in "abc"}
    log: list[tuple[str, int]] = []
    begun: list[str] = []

    @plugin.on("agent.x")
    async def handle(n: int, ctx: Context) -> None:
        session = ctx.session.id
        assert session is not None
        begun.append(session)
        if n == 0:
            if len(set(begun)) == 3:
                for gate in gates.values():
                    gate.set()
            await gates[session].wait()
        log.append((session, n))

    broker = await test_broker(plugin)
    for n in range(5):
        for session in "abc":
            await broker.publish("agent.x", n, session=session)
    await broker.settle()
    while len(log) < 15:
        await asyncio.sleep(0)
    for session in "abc":
        assert [n for each, n in log if each == session] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("waits", [False, True])
async def test_each_event_has_context_variables_of_its_own(
    test_broker: StartBroker, waits: bool
) -> None:
    """Proves W14, Python part: fields of the event are there under the names of the wire."""
    plugin = Plugin("echo")
    seen: list[tuple[str, str]] = []

    @plugin.on("agent.x")
    async def handle(word: str, ctx: Context) -> None:
        before = WORD.get()
        WORD.set(word)
        if waits:
            await asyncio.sleep(0)
            await asyncio.create_task(asyncio.sleep(0))
        seen.append((before, WORD.get()))
        event = ctx.event
        assert event.payload == word and event.id and event.timestamp and event.source
        assert (event.session_id, event.correlation_id) == (f"s-{word}", "c1")
        assert event.metadata["m"] == 1 and event.topic == "agent.x"
        assert event.session_key is not None and event.raw == f'"{word}"'.encode()

    broker = await test_broker(plugin)
    for n in range(8):
        await broker.publish(
            "agent.x", f"w{n}", session=f"s-w{n}", correlation="c1", metadata={"m": 1}
        )
    await broker.settle()
    assert sorted(seen) == [("outside", f"w{n}") for n in range(8)]
    assert WORD.get() == "outside"
    assert not await broker.dead_letters()


async def test_a_handler_is_a_task_where_that_can_be_seen(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")
    tasks: list[Any] = []

    @plugin.on("agent.x")
    async def handle(payload: Json, ctx: Context) -> None:
        task = asyncio.current_task()
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        tasks.append(task)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            async with asyncio.TaskGroup() as group:
                made = group.create_task(ctx.publish("agent.y", payload))
            assert made.result().seq is not None

    broker = await test_broker(plugin)
    for n in range(6):
        await broker.publish("agent.x", n, session=str(n))
    await broker.settle()
    while len(tasks) < 6:
        await asyncio.sleep(0.001)
    assert len(set(map(id, tasks))) == 6
    await broker.settle()
    assert not await broker.dead_letters()


async def test_a_handler_that_cancels_its_task_leaves_the_next_alone(
    test_broker: StartBroker,
) -> None:
    plugin = Plugin("echo")
    ended: list[int] = []

    @plugin.on("agent.x")
    async def handle(n: int, ctx: Context) -> None:
        if n % 2 == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        else:
            await asyncio.sleep(0)
        ended.append(n)

    broker = await test_broker(plugin)
    for n in range(20):
        await broker.publish("agent.x", n, session=str(n))
    await broker.settle()
    while len(ended) < 20:
        await asyncio.sleep(0)
    assert sorted(ended) == list(range(20))


async def test_exceptions_of_awaited_calls_reach_the_handler(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")
    seen: list[str] = []

    @plugin.on("agent.x")
    async def handle(payload: Json, ctx: Context) -> None:
        try:
            await ctx.publish("plugin.outbound.sms", {"text": "x"})
        except TrunklineError as error:
            seen.append(error.code)
        with pytest.raises(TrunklineError) as refused:
            await ctx.publish("agent.y", float("nan"))
        seen.append(refused.value.code)

    broker = await test_broker(plugin)
    await broker.publish("agent.x", 1)
    await broker.settle()
    while len(seen) < 2:
        await asyncio.sleep(0)
    assert seen == ["unrouted", "invalid_payload"]


async def test_a_handler_that_takes_too_long_is_cancelled_within_100_ms(
    test_broker: StartBroker,
) -> None:
    """Proves LN9, Python part: a deadline reaches an await within 100 ms."""
    plugin = Plugin("echo")
    ended: list[float] = []

    @plugin.on("agent.x", timeout="200ms", retry={"failures_max": 1})
    async def handle(payload: Json, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(time.monotonic() - begun)
            assert ctx.cancelled
            raise

    broker = await test_broker(plugin)
    # The least of some: the machine may have other work, a deadline that reaches nobody is always late.
    while len(ended) < 8 and not any(took < 0.3 for took in ended):
        begun = time.monotonic()
        await broker.publish("agent.x", 1)
        rounds = len(ended)
        while len(ended) == rounds:
            await asyncio.sleep(0.005)
    assert 0.19 < min(ended) < 0.3, ended
    await broker.settle()
    dead = await broker.dead_letters()
    assert [each["last_error"]["type"] for each in dead] == ["timed_out"] * len(ended), dead


async def test_functions_that_block_do_not_hold_up_the_loop(test_broker: StartBroker) -> None:
    """Proves X5, Python part: four functions that block run at once, and the loop turns."""
    plugin = Plugin("echo")
    barrier = threading.Barrier(4, timeout=10)
    turns: list[int] = []
    ended: list[str] = []

    @plugin.on("agent.block")
    def block(payload: Json) -> None:
        WORD.set("inside")
        barrier.wait()
        ended.append(threading.current_thread().name)

    @plugin.on("agent.turn")
    async def turn(n: int) -> None:
        turns.append(n)

    broker = await test_broker(plugin)
    for n in range(3):
        await broker.publish("agent.block", n, session=str(n))
    for n in range(10):
        await broker.publish("agent.turn", n)
    while len(turns) < 10:
        await asyncio.sleep(0)
    assert not ended
    await broker.publish("agent.block", 3, session="3")
    while len(ended) < 4:
        await asyncio.sleep(0.001)
    assert len(set(ended)) == 4 and all(name.startswith("trunkline-") for name in ended)


async def test_calls_of_another_loop_are_refused(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")
    broker = await test_broker(plugin)

    async def elsewhere() -> None:
        with pytest.raises(TrunklineError, match="another event loop"):
            await broker.client.publish("agent.x", 1)

    await asyncio.to_thread(asyncio.run, elsewhere())
    future = asyncio.run_coroutine_threadsafe(
        broker.client.publish("agent.x", 1), asyncio.get_running_loop()
    )
    assert (await asyncio.wrap_future(future)).seq is not None


async def test_a_call_that_is_given_up_is_cancelled(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")
    broker = await test_broker(plugin)
    other = await broker.attach(Client("other"))
    holder = await other.lock("one")

    async def wait_for_it() -> None:
        await broker.client.lock("one", wait="1h")

    second = asyncio.ensure_future(wait_for_it())
    done, _ = await asyncio.wait([second], timeout=0.05)
    assert not done
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await holder.release()
    async with broker.client.lock("one", wait="10s") as held:
        assert held.token > holder.token


async def test_a_client_that_is_not_connected_says_so(test_broker: StartBroker) -> None:
    with pytest.raises(TrunklineError, match="not connected"):
        await Client("c").publish("agent.x", 1)


async def test_a_call_that_waits_in_the_core_lets_every_thread_go_on(
    test_broker: StartBroker,
) -> None:
    """Proves X5: the core holds no lock of the interpreter while a blocking call waits."""
    plugin = Plugin("locks")
    held, release = threading.Event(), threading.Event()
    waiter: list[int] = []

    @plugin.outbound("locks")
    def take(message: OutboundMessage, ctx: SyncContext) -> Reply:
        if ctx.instance == "other":
            waiter.append(threading.get_ident())
        with ctx.lock("one", ttl="5m", wait="1m"):
            if ctx.instance == "first":
                held.set()
                release.wait()
        return Reply({"text": message.text})

    def waits() -> bool:
        frame = sys._current_frames()[waiter[0]] if waiter else None
        return frame is not None and frame.f_code.co_name == "call_blocking"

    counted = 0

    def count() -> None:
        nonlocal counted
        while counted < 100_000:
            counted += 1

    broker = await test_broker(plugin, instances=["first", "other"])
    await broker.send("locks", "hi", to="a", instance="first")
    await asyncio.to_thread(held.wait)
    await broker.send("locks", "there", to="b", instance="other")
    # The loop goes on: it is what looks.
    while not waits():
        await asyncio.sleep(0)
    thread = threading.Thread(target=count)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert counted == 100_000 and waits()
    release.set()
    for instance in ("first", "other"):
        await broker.expect_published(f"plugin.inbound.locks.{instance}", within="10s")
