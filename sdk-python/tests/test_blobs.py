"""Blobs: content crosses by reference, from bytes, paths and files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from trunkline import BlobRef, Context, NotFound, Plugin, SyncContext
from trunkline.testing import StartBroker

CONTENT = bytes(range(256)) * 4096


async def test_what_is_put_is_read_by_whom_the_event_reaches(
    test_broker: StartBroker, tmp_path: Path
) -> None:
    plugin = Plugin("album")

    @plugin.on("agent.photos")
    async def look(photo: dict[str, Any], ctx: Context) -> None:
        content = await ctx.blob.get(photo["id"])
        with await ctx.blob.open(photo["id"]) as file:
            first = file.read(4)
        await ctx.publish("agent.seen", {"bytes": len(content), "first": list(first)})

    broker = await test_broker(plugin)
    blob = await broker.client.blob.put(CONTENT, media_type="image/png")
    assert blob == BlobRef(blob.id, len(CONTENT), "image/png")
    assert await broker.client.blob.stat(blob) == blob
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    assert (await broker.client.blob.put(path)).id == blob.id
    assert (await broker.client.blob.put(io.BytesIO(CONTENT))).id == blob.id
    await broker.client.publish("agent.photos", {"id": blob.id}, blobs=[blob])
    event = await broker.expect_published("agent.photos", {})
    assert event.blobs == [blob.id]
    seen = {"bytes": len(CONTENT), "first": [0, 1, 2, 3]}
    await broker.expect_published("agent.seen", seen)


async def test_a_function_that_blocks_has_blobs_too(test_broker: StartBroker) -> None:
    plugin = Plugin("album")

    @plugin.on("agent.photos")
    def turn(photo: dict[str, Any], ctx: SyncContext) -> None:
        blob = ctx.blob.put(ctx.blob.get(photo["id"])[::-1])
        with ctx.blob.open(blob) as file:
            assert file.read() == CONTENT[::-1]
        assert ctx.blob.stat(blob) == blob
        ctx.publish("agent.seen", {"id": blob.id}, blobs=[blob.id])

    broker = await test_broker(plugin)
    blob = await broker.client.blob.put(CONTENT)
    await broker.client.publish("agent.photos", {"id": blob.id}, blobs=[blob])
    event = await broker.expect_published("agent.seen", {})
    assert await broker.client.blob.get(event.blobs[0]) == CONTENT[::-1]


async def test_what_is_not_there_is_not_found(test_broker: StartBroker) -> None:
    broker = await test_broker(Plugin("album"))
    with pytest.raises(NotFound):
        await broker.client.blob.get("sha256:" + "0" * 64)
    with pytest.raises(TypeError):
        await broker.client.blob.put("photo.png")  # type: ignore[arg-type]
