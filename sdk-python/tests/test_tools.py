"""Tools: served by functions of each kind, and called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from trunkline import (
    Cancelled,
    Client,
    Context,
    InvalidArguments,
    Json,
    NotFound,
    Plugin,
    Reject,
    Reply,
    Retry,
    SyncContext,
    TimedOut,
    ToolError,
    ToolFailed,
    ToolNotFound,
    ToolStep,
    TrunklineError,
)
from trunkline.testing import StartBroker

ANY = {"type": "object"}
SUM = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}


async def test_a_call_gives_the_result(test_broker: StartBroker) -> None:
    """Proves P3b and W15, Python part: functions of each kind are tools, and an unknown one is an error."""
    plugin = Plugin("sums")

    @plugin.tool(input=SUM)
    async def add(arguments: Json, ctx: Context) -> Json:
        """Add two numbers.

        Any two.
        """
        return arguments["a"] + arguments["b"]

    @plugin.tool("add_slowly", input=SUM, description="The same.")
    def add_in_thread(arguments: Json, ctx: SyncContext) -> Json:
        assert ctx.caller is not None
        return arguments["a"] + arguments["b"]

    @dataclass
    class Pair:
        a: int
        b: int

    @plugin.tool("typed", input=ANY)
    async def typed(pair: Pair) -> Json:
        return {"sum": pair.a + pair.b, "big": 2**80}

    broker = await test_broker(plugin)
    assert await broker.call_tool("sums.add", {"a": 1, "b": 2.5}) == 3.5
    assert await broker.call_tool("sums.add_slowly", {"a": 1, "b": 2}) == 3
    assert await broker.call_tool("sums.typed", {"a": 1, "b": 2}) == {"sum": 3, "big": 2**80}
    with pytest.raises(InvalidArguments):
        await broker.call_tool("sums.add", {"a": 1})
    with pytest.raises(InvalidArguments):
        await broker.call_tool("sums.typed", {"a": 1, "b": "two"})
    with pytest.raises(ToolNotFound):
        await broker.call_tool("sums.none", {})
    listed = await broker.client.request("tool.list", {})
    described = {tool["name"]: tool["description"] for tool in listed["tools"]}
    assert described == {
        "sums.add": "Add two numbers.",
        "sums.add_slowly": "The same.",
        "sums.typed": "",
    }


async def test_what_a_tool_raises_is_the_error_of_the_call(test_broker: StartBroker) -> None:
    plugin = Plugin("p")

    @plugin.tool(input=ANY)
    async def fails(arguments: Json) -> Json:
        match arguments["how"]:
            case "tool":
                raise ToolError("too old", "too_old", retryable=True)
            case "known":
                raise ToolError("no such charge", "not_found")
            case "retry":
                return Retry("3s", "busy")
            case "reject":
                raise Reject("no", "invalid_arguments")
            case "late":
                await asyncio.Event().wait()
        raise ValueError("boom")

    broker = await test_broker(plugin)

    async def failed(how: str, **options: Any) -> TrunklineError:
        with pytest.raises(TrunklineError) as error:
            await broker.call_tool("p.fails", {"how": how}, **options)
        return error.value

    error = await failed("tool")
    assert isinstance(error, ToolFailed) and error.retryable
    assert (error.message, error.detail["code"]) == ("too old", "too_old")
    assert isinstance(await failed("known"), NotFound)
    error = await failed("retry")
    assert error.retryable and error.retry_after is not None
    assert isinstance(await failed("reject"), InvalidArguments)
    error = await failed("other")
    assert isinstance(error, ToolFailed) and not error.retryable
    assert (error.message, error.detail["type"]) == ("boom", "ValueError")


async def test_an_answer_to_an_event_is_refused_from_a_tool(test_broker: StartBroker) -> None:
    plugin = Plugin("p")

    @plugin.tool(input=ANY)
    async def replies(arguments: Json) -> Any:
        return Reply("no")

    broker = await test_broker(plugin)
    with pytest.raises(TrunklineError) as error:
        await broker.call_tool("p.replies", {})
    assert error.value.code == "invalid_return"
    with pytest.raises(AssertionError, match="found Reply"):
        await broker.expect_nothing("agent.>", within="1s")


async def test_progress_and_chunks_come_before_the_result(test_broker: StartBroker) -> None:
    """Proves P3b and W16, Python part: generators of both kinds stream, and who does not iterate gets it whole."""
    plugin = Plugin("p")

    @plugin.tool(input=ANY, output={"type": "string"})
    async def words(arguments: Json, ctx: Context) -> AsyncIterator[str]:
        ctx.progress(1, 2, "half", {"n": 1})
        for word in ("one ", "two"):
            yield word

    @plugin.tool(input=ANY)
    def numbers(arguments: Json) -> Iterator[int]:
        yield from range(arguments["to"])

    @plugin.tool(input=ANY, streaming=True)
    async def by_hand(arguments: Json, ctx: Context) -> None:
        await ctx.chunk([1])
        await ctx.chunk({"n": 2})

    broker = await test_broker(plugin)
    call = broker.call_tool("p.words", {})
    steps = [step async for step in call]
    assert steps == [
        ToolStep("progress", {"n": 1}, 1, 2, "half"),
        ToolStep("chunk", "one "),
        ToolStep("chunk", "two"),
    ]
    assert await call is None
    assert await broker.call_tool("p.words", {}) == "one two"
    assert await broker.call_tool("p.numbers", {"to": 3}) == [0, 1, 2]
    assert await broker.call_tool("p.by_hand", {}) == [[1], {"n": 2}]


async def test_a_large_stream_waits_for_its_reader(test_broker: StartBroker) -> None:
    """Proves LN44, Python part: chunks wait while the caller's window is full."""
    plugin = Plugin("p")
    sent = 0

    @plugin.tool(input=ANY)
    async def large(arguments: Json) -> AsyncIterator[str]:
        nonlocal sent
        for _ in range(64):
            yield "x" * 32_768
            sent += 1

    broker = await test_broker(plugin)
    call = broker.call_tool("p.large", {})
    first = await anext(call)
    await broker.settle()
    assert len(first.data) == 32_768 and sent < 40
    assert len([step async for step in call]) == 63
    assert sent == 64


@pytest.mark.parametrize("how", ["cancel", "task", "let go"])
async def test_a_cancel_reaches_the_handler_within_100_ms(
    test_broker: StartBroker, how: str
) -> None:
    """Proves LN9, Python part: a cancelled call, a cancelled task and a call let go of are told."""
    plugin = Plugin("p")
    began, ended = asyncio.Event(), asyncio.Event()

    @plugin.tool(input=ANY)
    async def waits(arguments: Json) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise

    broker = await test_broker(plugin)
    call = broker.call_tool("p.waits", {})

    async def wait() -> Any:
        return await call

    task = asyncio.create_task(wait())
    await began.wait()
    at = time.monotonic()
    if how == "cancel":
        call.cancel("no need")
        with pytest.raises(Cancelled):
            await task
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if how == "let go":
            del call
    await asyncio.wait_for(ended.wait(), 5)
    assert time.monotonic() - at < 0.1


async def test_a_blocking_tool_sees_that_it_is_cancelled(test_broker: StartBroker) -> None:
    """Proves LN9, Python threads part."""
    plugin = Plugin("p")
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    @plugin.tool(input=ANY)
    def waits(arguments: Json, ctx: SyncContext) -> None:
        ctx.progress(message="began")
        while not ctx.cancelled:
            time.sleep(0.002)
        loop.call_soon_threadsafe(ended.set)

    broker = await test_broker(plugin)
    call = broker.call_tool("p.waits", {})
    assert (await anext(call)).message == "began"
    at = time.monotonic()
    call.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    assert time.monotonic() - at < 0.1


async def test_two_hundred_calls_at_once_are_all_answered(test_broker: StartBroker) -> None:
    """Proves LN25, Python part: none is refused below what the tool declares."""
    plugin = Plugin("p")
    running = most = 0
    everyone = asyncio.Event()

    @plugin.tool(input=ANY, concurrency=200)
    async def meets(arguments: Json) -> Json:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 200:
            everyone.set()
        await everyone.wait()
        return arguments["n"]

    broker = await test_broker(plugin)
    calls = [broker.call_tool("p.meets", {"n": n}) for n in range(200)]
    assert [await call for call in calls] == list(range(200))
    assert most == 200


async def test_a_handler_calls_a_tool_in_its_own_time(test_broker: StartBroker) -> None:
    plugin = Plugin("p")

    @plugin.tool(input=ANY)
    async def tell(arguments: Json, ctx: Context) -> Json:
        return {"caller": ctx.caller, "key": ctx.idempotency_key, "left": ctx.remaining.seconds}

    @plugin.tool(input=ANY)
    def outer(arguments: Json, ctx: SyncContext) -> Json:
        call = ctx.call_tool("p.tell", {}, idempotency_key="k")
        assert list(call) == []
        return call.result()

    broker = await test_broker(plugin)
    agent = Client("agent")

    @agent.on("agent.ask", start="earliest")
    async def ask(payload: Json, ctx: Context) -> None:
        told = await ctx.call_tool("p.outer", payload, timeout="20s")
        await ctx.publish("agent.told", told)

    await broker.attach(agent)
    await broker.publish("agent.ask", {})
    told = (await broker.expect_published("agent.told")).payload
    assert told["caller"] == "p/default" and told["key"] == "k" and told["left"] <= 20


async def test_tools_come_and_go_at_run_time(test_broker: StartBroker) -> None:
    plugin = Plugin("p")
    contexts = []

    async def late(arguments: Json) -> str:
        return "late"

    @plugin.on_start
    async def start(ctx: Any) -> None:
        contexts.append(ctx)

    broker = await test_broker(plugin)
    await contexts[0].register_tool(late, input=ANY)
    assert await broker.call_tool("p.late", {}) == "late"
    await contexts[0].unregister_tool("late")
    with pytest.raises(ToolNotFound):
        await broker.call_tool("p.late", {})


async def test_a_call_ends_with_its_time(test_broker: StartBroker) -> None:
    plugin = Plugin("p")

    @plugin.tool(input=ANY)
    async def waits(arguments: Json) -> None:
        await asyncio.Event().wait()

    broker = await test_broker(plugin)
    call = broker.call_tool("p.waits", {}, timeout="50ms")
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(_result(call))
    await broker.advance("2s")
    with pytest.raises(TimedOut):
        await waiting


async def _result(call: Any) -> Any:
    return await call


def test_a_tool_without_a_schema_is_refused_at_registration() -> None:
    plugin = Plugin("p")
    with pytest.raises(InvalidArguments, match="or say the JSON Schema with `input=`"):

        @plugin.tool()
        async def none(arguments: Json) -> None: ...

    def plain(arguments: Json) -> None: ...

    assert plugin.tool(input=ANY)(plain) is plain


async def test_an_event_on_the_topic_of_a_tool_is_a_call(test_broker: StartBroker) -> None:
    """Proves P3d, Python part: its arguments are the payload, and the result is on ``.reply``."""
    plugin = Plugin("p")

    @plugin.tool()
    async def add(a: int, b: int = 1) -> int:
        return a + b

    broker = await test_broker(plugin)
    await broker.publish("plugin.tool.p.add", {"a": 2}, session="s")
    reply = await broker.expect_published("plugin.tool.p.add.reply", {"output": 3}, within="5s")
    assert reply.session_id == "s"
    await broker.publish("plugin.tool.p.add", {"a": "two"})
    failed = await broker.expect_published("plugin.tool.p.add.reply", {"error": {}}, within="5s")
    assert failed.payload["error"]["code"] == "invalid_arguments"


async def test_two_tools_of_one_name_are_refused_at_load(test_broker: StartBroker) -> None:
    """Proves P3c, Python part: a collision is an error before anything is served."""
    plugin = Plugin("p")

    @plugin.tool("add")
    async def one(a: int) -> int:
        return a

    @plugin.tool("add")
    async def two(a: int) -> int:
        return a

    with pytest.raises(InvalidArguments, match="add"):
        await test_broker(plugin)


def test_a_decorator_without_parentheses_is_refused() -> None:
    plugin: Any = Plugin("sums")
    with pytest.raises(InvalidArguments, match="parentheses"):

        @plugin.tool
        def add(a: int) -> int:
            return a
