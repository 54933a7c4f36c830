"""The scenarios of ``patterns/scenarios``, played against plugins in Python; Rust and Node play the same files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trunkline import (
    Batch,
    Context,
    Event,
    FeedItem,
    Json,
    OutboundMessage,
    Part,
    Plugin,
    Reject,
    Reply,
    TimerEvent,
    ToolError,
    WebhookRequest,
)
from trunkline.testing import play

REPOSITORY = Path(os.environ.get("TRUNKLINE_ROOT", Path(__file__).parents[2]))
SCENARIOS = REPOSITORY / "patterns" / "scenarios"


def assembler() -> Plugin:
    plugin = Plugin("sms")

    @plugin.on("agent.part", name="parts")
    async def part(payload: Json) -> Part:
        return Part(payload["text"], **payload["of"])

    @plugin.assemble("sms", silence="30s", max_age="70s", max_parts=4)
    async def whole(parts: list[Part], ctx: Context) -> Event:
        assert ctx.assembly is not None
        text = ("…" if ctx.assembly.missing else "").join(part.data for part in parts)
        if text == "poison":
            raise Reject("nobody can read this")
        conversation = {"id": parts[0].session}
        said = {"text": text, "conversation": conversation, "why": ctx.assembly.reason}
        return Event.inbound(said)

    return plugin


def outbound() -> Plugin:
    plugin = Plugin("sms")

    @plugin.outbound("sms", rate="100/s", idempotent=True)
    async def send(message: OutboundMessage, ctx: Context) -> str:
        api = ctx.http.at("https://sms.example")
        body = {"text": message.text, "key": ctx.idempotency_key}
        sent = await api.post("/messages", json=body, idempotency_key=ctx.idempotency_key)
        return str(sent.json()["sid"])

    return plugin


def connection() -> Plugin:
    plugin = Plugin("chat")

    @plugin.connect("chat", url="{config.server}", backoff=("5ms", "20ms"))
    async def line(text: str, ctx: Context) -> Batch | None:
        if text == "HELLO":
            await ctx.conn.send(f"RESUME {ctx.conn.cursor or 0}")
            return None
        word, _, rest = text.partition(" ")
        if word != "MSG":
            raise Reject("not a line of this server")
        seq, _, said = rest.partition(" ")
        return Batch([Event.inbound({"text": said})], cursor=int(seq), ack=f"ACK {seq}")

    @plugin.outbound("chat")
    async def say(message: OutboundMessage, ctx: Context) -> None:
        await ctx.conn.send(f"SAY {message.text}")

    return plugin


def poller() -> Plugin:
    plugin = Plugin("api")

    @plugin.poll("api", every="2m", jitter="0s")
    async def updates(cursor: int | None, ctx: Context) -> Batch:
        answer = await ctx.http.get("https://api.example/updates", query={"after": cursor or 0})
        found = answer.json()
        events = [
            Event.inbound({"text": update["text"], "conversation": {"id": "updates"}})
            for update in found
        ]
        return Batch(events, cursor=found[-1]["id"] if found else cursor)

    return plugin


def feed() -> Plugin:
    plugin = Plugin("rss")

    @plugin.poll("rss", feed="{config.url}", every="2m", jitter="0s")
    async def item(item: FeedItem) -> Event:
        return Event.inbound({"text": item.title, "conversation": {"id": "news"}})

    return plugin


def timers() -> Plugin:
    plugin = Plugin("clock")

    @plugin.timer("tick", every="5m", data=7)
    async def tick(timer: TimerEvent) -> Event:
        said = {"name": timer.name, "data": timer.data, "missed": timer.missed}
        return Event("agent.tick", said)

    @plugin.on("agent.stop", name="stops")
    async def stop(payload: Json, ctx: Context) -> None:
        await ctx.timer.cancel("tick")

    return plugin


def webhook() -> Plugin:
    plugin = Plugin("forge")

    @plugin.webhook("forge", verify="github", secret="{config.secret}")
    async def hook(request: WebhookRequest) -> list[Event]:
        body = request.json()
        if request.headers.get("x-event") != "opened":
            return []
        return [
            Event.inbound({"text": title, "conversation": {"id": "repo"}})
            for title in body["titles"]
        ]

    return plugin


def tool() -> Plugin:
    plugin = Plugin("sums")

    @plugin.tool()
    async def add(a: int, b: int) -> int:
        """Adds two numbers."""
        if a < 0:
            raise ToolError("only what is there is added")
        return a + b

    return plugin


def echo() -> Plugin:
    plugin = Plugin("echo")

    @plugin.outbound("echo")
    async def echo(message: OutboundMessage) -> Reply:
        return Reply(message.text)

    return plugin


PLUGINS: dict[str, Callable[[], Plugin[Any]]] = {
    made.__name__: made
    for made in (assembler, outbound, connection, poller, feed, timers, webhook, tool, echo)
}


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.json")), ids=lambda path: path.stem)
def test_a_plugin_does_what_its_scenario_says(path: Path) -> None:
    """Proves P1, P2f, P3a, P3b, P4b, P4d, P5b, P6a, P6b, P7a, P7b, P7c, P8a, LN22, LN27, transcripts: one file, three languages."""
    transcript = asyncio.run(play(PLUGINS[path.stem](), path.read_text()))
    assert transcript[-1].keys() == {"dead_letters", "state"}


def test_a_scenario_that_does_not_hold_fails() -> None:
    text = (SCENARIOS / "timers.json").read_text().replace('"missed": 0', '"missed": 7')
    with pytest.raises(AssertionError, match="missed"):
        asyncio.run(play(timers(), text))
