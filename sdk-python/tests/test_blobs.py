"""Blobs: content crosses by reference, from bytes, paths and files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from trunkline import BlobRef, Context, HttpError, NotFound, Plugin, SyncContext
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


async def test_files_come_and_go_over_http(test_broker: StartBroker) -> None:
    """Proves: an answer becomes a blob, and a blob a body or a field of a form, piece by piece."""
    plugin = Plugin("relay")

    @plugin.on("agent.relay", timeout="1m")
    async def relay(payload: dict[str, Any], ctx: Context) -> None:
        api = ctx.http.at("https://files.example", bearer="{config.token}")
        blob = await api.download("/cat", query={"n": 1})
        answer = await api.upload("/raw", blob, method="PUT", headers={"x-a": "b"})
        await api.upload("/form", {"photo": ("cat.png", blob), "thumb": blob.id}, form={"chat": 7})
        await ctx.publish("agent.seen", {"id": blob.id, "said": answer.text()}, blobs=[blob])

    broker = await test_broker(plugin, config={"token": "tok-secret"})
    files = broker.http("https://files.example")
    got = files.on("GET", "/cat").reply(503, headers={"retry-after": "2"})
    got.reply(200, body=CONTENT, headers={"content-type": "image/png"})
    raw = files.on("PUT", "/raw").reply(201, body="thanks")
    form = files.on("POST", "/form").reply(200)
    await broker.publish("agent.relay", {})
    event = await broker.expect_published("agent.seen", {"said": "thanks"}, within="5s")
    blob = await broker.client.blob.stat(event.blobs[0])
    assert blob == BlobRef(event.payload["id"], len(CONTENT), "image/png")
    assert [seen.query for seen in got.requests] == [{"n": "1"}] * 2
    (seen,) = raw.requests
    assert seen.body == CONTENT and seen.headers["content-type"] == "image/png"
    assert seen.headers["authorization"] == "Bearer tok-secret" and seen.headers["x-a"] == "b"
    (seen,) = form.requests
    kind, boundary = seen.headers["content-type"].split("; boundary=")
    assert kind == "multipart/form-data"
    parts = seen.body.split(f"--{boundary}".encode())
    assert len(parts) == 5 and parts[1].endswith(b"\r\n\r\n7\r\n")
    assert b'name="photo"; filename="cat.png"\r\ncontent-type: image/png\r\n' in parts[2]
    assert b'name="thumb"; filename="thumb"' in parts[3]
    assert all(part.endswith(b"\r\n\r\n" + CONTENT + b"\r\n") for part in parts[2:4])


async def test_a_function_that_blocks_fetches_files_within_its_limit(
    test_broker: StartBroker,
) -> None:
    plugin = Plugin("relay")

    @plugin.on("agent.relay", timeout="1m")
    def relay(payload: dict[str, Any], ctx: SyncContext) -> None:
        with pytest.raises(HttpError, match=r"more than 100 bytes; hint: raise max_bytes") as found:
            ctx.http.download("https://files.example/cat", max_bytes=100)
        assert found.value.status == 200 and not found.value.retryable
        blob = ctx.http.download("https://files.example/cat", media_type="image/x")
        ctx.http.upload("https://files.example/raw", blob.id)
        ctx.publish("agent.seen", {"bytes": blob.bytes, "kind": blob.media_type})

    broker = await test_broker(plugin)
    files = broker.http("https://files.example")
    files.on("GET", "/cat").reply(200, body=CONTENT)
    raw = files.on("POST", "/raw").reply(200)
    await broker.publish("agent.relay", {})
    seen = {"bytes": len(CONTENT), "kind": "image/x"}
    await broker.expect_published("agent.seen", seen, within="5s")
    assert raw.requests[0].body == CONTENT and raw.requests[0].headers["content-type"] == "image/x"
