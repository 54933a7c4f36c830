"""The state store: what is missing, what is too much, several at once, and bytes."""

from __future__ import annotations

import pytest
from trunkline import (
    Batch,
    Context,
    FrameTooLarge,
    InvalidPayload,
    Json,
    NotFound,
    Plugin,
    QuotaExceeded,
    RevisionConflict,
    SyncContext,
)
from trunkline.testing import StartBroker


async def test_a_store_says_what_is_missing_and_what_is_too_much(test_broker: StartBroker) -> None:
    """Proves LN33, Python part: a missing key is a typed error where it must be there; several puts are
    one commit; bytes are values; the quota is checked before a write, and what the link cannot carry
    is refused at once. Proves P6c, Python part: several keys are read by one call.
    """
    plugin = Plugin("chat")

    @plugin.on("agent.store")
    async def store(payload: Json, ctx: Context) -> None:
        kv = ctx.kv
        assert await kv.get("never", 7) == 7 and await kv.entry("never") is None
        with pytest.raises(NotFound):
            await kv.require("never")
        await ctx.emit(Batch().put("a/1", 1).put("a/2", {"n": 2**60}))
        with pytest.raises(RevisionConflict):
            await ctx.emit(Batch().put("a/3", 3).put("a/1", 9, if_revision=0))
        assert await kv.get_many(["a/1", "a/2", "a/3"]) == {"a/1": 1, "a/2": {"n": 2**60}}
        assert await kv.require("a/1") == 1
        await kv.put_bytes("raw", b"\x00\x9f\xff", ttl="1h")
        assert await kv.get_bytes("raw") == b"\x00\x9f\xff"
        assert await kv.get_bytes("never") is None
        with pytest.raises(InvalidPayload):
            await kv.get_bytes("a/1")
        await kv.plugin.put("a/1", "of the plugin")
        await kv.workspace.put("a/1", "of all")
        assert await kv.plugin.require("a/1") == "of the plugin"
        assert await kv.workspace.require("a/1") == "of all"
        for size in (300 << 10, 2 << 20):
            large = "x" * size
            with pytest.raises(QuotaExceeded):
                await kv.put("large", large)
            with pytest.raises((QuotaExceeded, FrameTooLarge)):
                await ctx.emit(Batch().put("small", 1).put("large", large))
        with pytest.raises(FrameTooLarge):
            await ctx.publish("agent.large", "x" * (2 << 20))
        assert await kv.get_many(["small", "large"]) == {}
        await ctx.publish("agent.stored", {})

    broker = await test_broker(plugin)
    await broker.publish("agent.store", {})
    await broker.expect_published("agent.stored", {})


async def test_a_function_that_blocks_has_the_same_store(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.on("agent.store")
    def store(payload: Json, ctx: SyncContext) -> None:
        with pytest.raises(NotFound):
            ctx.kv.require("never")
        ctx.kv.put_bytes("raw", b"\xff")
        assert ctx.kv.get_bytes("raw") == b"\xff"
        ctx.kv.put("n", 1)
        assert ctx.kv.get_many(["n", "never"]) == {"n": 1} and ctx.kv.require("n") == 1
        with pytest.raises(QuotaExceeded):
            ctx.kv.put("large", "x" * (2 << 20))
        ctx.publish("agent.stored", {})

    broker = await test_broker(plugin)
    await broker.publish("agent.store", {})
    await broker.expect_published("agent.stored", {})
