"""What a handler returns or raises settles what it was given."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from trunkline import (
    Batch,
    Client,
    Context,
    Event,
    Fatal,
    InvalidArguments,
    Json,
    NeedsAuth,
    Plugin,
    Receipt,
    Reject,
    Reply,
    Retry,
    RetryLater,
    StorageFull,
    SyncContext,
)
from trunkline._outcome import outcome_of
from trunkline.testing import StartBroker

HERE = "test_outcomes.py:"


def echoing(function: Any) -> Plugin:
    plugin = Plugin("echo")
    plugin.outbound("echo")(function)
    return plugin


async def test_a_reply_goes_back_with_the_receipt(test_broker: StartBroker) -> None:
    """Proves P1, Python part: the echo plugin answers in the same conversation and session."""

    async def echo(payload: Json, ctx: Context) -> Reply:
        return Reply(payload)

    broker = await test_broker(echoing(echo))
    sending = await broker.send("echo", {"text": "hi", "n": 2**80}, to="c1")
    answer = await broker.expect_published("plugin.inbound.echo.default", within="5s")
    assert answer.payload == {"text": "hi", "n": 2**80, "conversation": {"id": "c1"}}
    assert answer.correlation_id == sending.id
    assert (await sending.until("sent")).state == "sent"


@pytest.mark.parametrize("takes", [0, 1, 2])
async def test_a_handler_takes_what_it_wants(test_broker: StartBroker, takes: int) -> None:
    async def nothing() -> str:
        return "0"

    async def payload(payload: Any) -> str:
        return "1"

    async def both(payload: Any, ctx: Any) -> str:
        return "2"

    broker = await test_broker(echoing([nothing, payload, both][takes]))
    await broker.send("echo", "hi", to="c1")
    receipt = await broker.expect_published("plugin.delivery.echo.*", within="5s")
    assert receipt.payload == {"state": "sent", "provider_id": str(takes)}


async def test_a_receipt_an_event_a_list_and_a_batch(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")

    @plugin.outbound("echo")
    async def send(payload: Json) -> Receipt:
        return Receipt("failed", error={"code": "blocked", "retryable": False})

    @plugin.on("agent.one")
    async def one(payload: Json) -> Event:
        return Event.inbound({"text": "one", "conversation": {"id": "c"}}, id="e-1")

    @plugin.on("agent.list")
    async def several(payload: Json) -> list[Event]:
        return [Event.new("agent.out", "me", {"n": n}) for n in range(3)]

    @plugin.on("agent.batch")
    async def batch(payload: Json) -> Batch:
        return Batch([Event.new("agent.out", "me", {"n": 9})]).put("k", {"v": [1]}, ttl="1h")

    @plugin.on("agent.look")
    async def look(payload: Json, ctx: Context) -> None:
        await ctx.publish("agent.seen", await ctx.kv.get("k"))

    broker = await test_broker(plugin)
    await broker.send("echo", "hi", to="c1")
    failed = await broker.expect_published("plugin.delivery.echo.*", within="5s")
    assert failed.payload["error"]["code"] == "blocked"
    await broker.publish("agent.one", None)
    event = await broker.expect_published("plugin.inbound.echo.*", within="5s")
    assert (event.id, event.session_id) == ("e-1", "c")
    await broker.publish("agent.list", None)
    for n in range(3):
        assert (await broker.expect_published("agent.out", within="5s")).payload == {"n": n}
    await broker.publish("agent.batch", None)
    await broker.expect_published("agent.out", {"n": 9}, within="5s")
    await broker.publish("agent.look", None)
    assert (await broker.expect_published("agent.seen", within="5s")).payload == {"v": [1]}


@pytest.mark.parametrize("raised", [True, False])
async def test_retry_and_reject_are_returned_or_raised(
    test_broker: StartBroker, raised: bool
) -> None:
    attempts: list[int] = []
    plugin = Plugin("echo")

    def say(outcome: Any) -> Any:
        if raised:
            raise outcome
        return outcome

    @plugin.on("agent.retry")
    async def again(payload: Json, ctx: Context) -> Any:
        assert ctx.delivery is not None
        attempts.append(ctx.delivery.attempt)
        if ctx.delivery.attempt < 3:
            return say(Retry("30s", "busy", counted=False))
        return None

    @plugin.on("agent.reject")
    async def no(payload: Json) -> Any:
        return say(Reject("never", code="gone"))

    broker = await test_broker(plugin)
    await broker.publish("agent.retry", 1)
    await broker.settle()
    assert attempts == [1]
    await broker.advance("31s")
    assert attempts == [1, 2]
    await broker.advance("31s")
    assert attempts == [1, 2, 3]
    await broker.publish("agent.reject", 1)
    await broker.settle()
    (dead,) = await broker.dead_letters()
    assert (dead["code"], dead["last_error"]["message"]) == ("gone", "never")


async def test_an_exception_is_a_failed_attempt_with_file_and_line(
    test_broker: StartBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves X4, Python part: the dead letter carries the author's file and line."""

    def inner() -> None:
        raise KeyError("rply")

    async def fails(payload: Json) -> None:
        await asyncio.sleep(0)
        inner()

    plugin = Plugin("echo")
    plugin.on("agent.fail", retry={"failures_max": 1})(fails)
    broker = await test_broker(plugin)
    await broker.publish("agent.fail", 1)
    await broker.settle()
    (dead,) = await broker.dead_letters()
    error = dead["last_error"]
    assert error["type"] == "KeyError", error
    assert "'rply'" in error["message"]
    line = inner.__code__.co_firstlineno + 1
    assert f'test_outcomes.py", line {line}, in inner' in error["traceback"]
    assert f"{HERE}{line}: KeyError" in caplog.text


async def test_errors_of_the_catalogue_keep_their_code(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")

    @plugin.on("agent.full", retry={"failures_max": 1})
    async def full(payload: Json) -> None:
        raise StorageFull("no room")

    @plugin.on("agent.call", retry={"failures_max": 1})
    async def call(payload: Json, ctx: Context) -> None:
        await ctx.request("no.such.method", {})

    broker = await test_broker(plugin)
    await broker.publish("agent.full", 1)
    await broker.publish("agent.call", 1)
    await broker.settle()
    dead = {each["subscription"].rsplit(".", 1)[-1]: each for each in await broker.dead_letters()}
    assert dead["full"]["last_error"]["type"] == "storage_full"
    assert dead["call"]["last_error"]["type"] == "not_implemented"


async def test_on_error_maps_foreign_exceptions(test_broker: StartBroker) -> None:
    class Busy(Exception):
        pass

    class VeryBusy(Busy):
        pass

    plugin = Plugin("echo")

    @plugin.on_error(Busy)
    def busy(error: Busy) -> Reject:
        return Reject(f"mapped {type(error).__name__}", code="busy")

    @plugin.on("agent.a")
    async def waits(payload: Json) -> None:
        await asyncio.sleep(0)
        raise VeryBusy

    @plugin.on("agent.b")
    def blocks(payload: Json) -> None:
        raise Busy

    broker = await test_broker(plugin)
    await broker.publish("agent.a", 1)
    await broker.publish("agent.b", 1)
    await broker.settle()
    found = {each["last_error"]["message"] for each in await broker.dead_letters()}
    assert found == {"mapped VeryBusy", "mapped Busy"}


async def test_what_must_not_be_returned_fails_the_test_broker(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")

    @plugin.on("agent.a")
    async def number(payload: Json) -> Any:
        return 7

    broker = await test_broker(plugin)
    await broker.publish("agent.a", 1)
    with pytest.raises(AssertionError, match="int"):
        await broker.settle()


@pytest.mark.parametrize("bad", [float("nan"), {"a": [float("inf")]}, {1: 2}, {2, 3}, b"x"])
async def test_a_reply_without_a_json_form_fails_in_the_handler(
    test_broker: StartBroker, bad: Any
) -> None:
    """Proves W5, Python part: what has no JSON form never reaches the wire."""
    plugin = Plugin("echo")

    @plugin.outbound("echo")
    async def echo(payload: Json) -> Reply:
        return Reply(bad)

    broker = await test_broker(plugin)
    await broker.send("echo", "hi", to="c1")
    await broker.expect_nothing("plugin.inbound.>", within="1s")


async def test_manual_handlers_settle_by_themselves(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")
    seen: list[Any] = []

    @plugin.on("agent.m", settle="manual")
    async def manual(payload: Json, ctx: Context) -> None:
        assert ctx.delivery is not None
        seen.append((payload, ctx.delivery.attempt))
        if payload == "ack":
            ctx.ack()
        elif payload == "nak" and ctx.delivery.attempt == 1:
            ctx.nak("10s", "later")
        elif payload == "nak":
            ctx.ack()
        else:
            ctx.reject("no", code="never")

    @plugin.on("agent.auto")
    async def auto(payload: Json, ctx: Context) -> None:
        with pytest.raises(InvalidArguments):
            ctx.ack()

    broker = await test_broker(plugin)
    for word in ("ack", "nak", "reject"):
        await broker.publish("agent.m", word)
    await broker.publish("agent.auto", 1)
    await broker.settle()
    await broker.advance("11s")
    assert seen.count(("nak", 2)) == 1
    assert [each["code"] for each in await broker.dead_letters()] == ["never"]


async def test_a_sync_handler_has_the_same_outcomes(test_broker: StartBroker) -> None:
    """Proves X5, Python part: a function that blocks runs beside the loop, which goes on."""
    turned = threading.Event()

    def echo(payload: Json, ctx: SyncContext) -> Reply:
        assert threading.current_thread() is not threading.main_thread()
        # Only the loop sets it, while this function stands still.
        asyncio.run_coroutine_threadsafe(turn(), loop).result()
        assert turned.is_set()
        with ctx.lock("one", ttl="30s") as held:
            assert held.token > 0 and not held.lost
        ctx.kv.put("k", 1)
        turns = ctx.session.kv.update("turns", lambda n: (n or 0) + 1)
        done = ctx.publish("agent.side", {"turns": turns})
        assert done.seq is not None and ctx.remaining.total_seconds() > 0
        return Reply({"text": f"{turns} {ctx.kv.get('k')} {ctx.event.topic}"})

    async def turn() -> None:
        await asyncio.sleep(0)
        turned.set()

    loop = asyncio.get_running_loop()
    broker = await test_broker(echoing(echo))
    await broker.send("echo", "hi", to="c1")
    side = await broker.expect_published("agent.side", within="5s")
    assert side.payload == {"turns": 1}
    answer = await broker.expect_published("plugin.inbound.>", within="5s")
    assert answer.payload["text"] == "1 1 plugin.outbound.echo.default"


def test_each_outcome_has_the_form_that_the_core_reads() -> None:
    assert outcome_of(None) is None
    assert outcome_of(Reply(None)) == {"reply": None}
    assert outcome_of("id") == {"text": "id"}
    assert outcome_of(RetryLater("r", "5m")) == {"retry_later": {"reason": "r", "after": "5m"}}
    assert outcome_of(NeedsAuth("r", "u")) == {"needs_auth": {"reason": "r", "url": "u"}}
    assert outcome_of(Fatal("r")) == {"fatal": {"reason": "r"}}
    assert outcome_of(3) == {"invalid": "int"}
    assert outcome_of([1]) == {"invalid": "a list with int"}


async def test_a_client_has_handlers_too(test_broker: StartBroker) -> None:
    async def echo(payload: Json) -> Reply:
        return Reply(payload)

    agent = Client("support")

    @agent.on("plugin.inbound.>", group="support", timeout="2m")
    async def answer(payload: Json, ctx: Context) -> Reply | None:
        turns = await ctx.session.kv.update("turns", lambda n: (n or 0) + 1)
        return Reply(f"turn {turns}") if turns == 1 else None

    broker = await test_broker(echoing(echo))
    await broker.attach(agent)
    await broker.send("echo", "hi", to="c1")
    await broker.expect_published("plugin.outbound.echo.*", {"text": "turn 1"}, within="5s")
    await agent.close()
