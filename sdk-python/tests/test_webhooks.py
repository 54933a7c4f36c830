"""Webhooks of a plugin: what a provider sends becomes events."""

from __future__ import annotations

import pytest
from trunkline import Batch, Context, Event, InvalidArguments, Plugin, WebhookRequest
from trunkline.testing import StartBroker


async def test_a_request_becomes_one_event_several_or_none(test_broker: StartBroker) -> None:
    """Proves P2f, Python part: a verified request becomes one event, several, or none."""
    plugin = Plugin("chat")

    @plugin.webhook("chat", verify="github", secret="{config.secret}")
    async def hook(request: WebhookRequest, ctx: Context) -> list[Event] | None:
        assert request.method == "POST" and request.body == request.text.encode()
        if request.headers.get("x-event") != "messages":
            return None
        body = request.json()
        conversation = {"id": body["from"]}
        return [Event.inbound({"text": t, "conversation": conversation}) for t in body["texts"]]

    broker = await test_broker(plugin, config={"secret": "s"})
    body = {"from": "c1", "texts": ["a", "b"]}
    await broker.webhook("chat", json=body, headers={"X-Event": "messages"}, id="d1")
    for text in "ab":
        event = await broker.expect_published("plugin.inbound.chat.*", {"text": text}, within="1s")
        assert event.session_id == "c1"
    again = await broker.webhook("chat", json=body, headers={"X-Event": "messages"}, id="d1")
    assert again.duplicate
    await broker.webhook("chat", json={})
    await broker.settle()
    await broker.expect_nothing("plugin.inbound.>", within="1m")
    assert await broker.dead_letters() == []


async def test_a_name_picks_the_handler_and_bytes_stay_bytes(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.webhook("chat", verify="github", secret=["{config.a}", "{config.b}"], name="raw")
    def raw(request: WebhookRequest) -> Batch:
        size = len(request.body)
        return Batch([Event.inbound({"text": str(size)})], ack={"status": 204})

    @plugin.webhook("chat", verify="github", secret="{config.a}")
    def rest(request):  # type: ignore[no-untyped-def]
        return Event.inbound({"text": type(request).__name__})

    broker = await test_broker(plugin, config={"a": "s", "b": "t"})
    await broker.webhook("chat", name="raw", body=b"\xff\x00")
    await broker.expect_published("plugin.inbound.>", {"text": "2"}, within="1s")
    await broker.webhook("chat", body="x")
    await broker.expect_published("plugin.inbound.>", {"text": "WebhookRequest"}, within="1s")
    await broker.webhook("chat", name="raw", body=b"")
    await broker.settle()


async def test_what_no_engine_follows_is_an_invalid_return(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.webhook("chat", verify="github", secret="{config.secret}")
    async def hook(request: WebhookRequest) -> Batch:
        return Batch(cursor=7)

    broker = await test_broker(plugin, config={"secret": "s"})
    await broker.webhook("chat", json={})
    with pytest.raises(AssertionError, match="a cursor"):
        await broker.expect_published("plugin.inbound.>", within="1s")


async def test_a_declaration_that_does_not_hold_is_refused(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.webhook("chat", verify="gitlob", secret="{config.secret}")
    async def hook(request: WebhookRequest) -> None:
        return None

    with pytest.raises(InvalidArguments, match="github"):
        await test_broker(plugin)
