"""Connections of a plugin against a real server of lines; the example of the page against the same."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from trunkline import Batch, Context, Event, InvalidArguments, Json, Plugin, Retry, SyncContext
from trunkline.testing import StartBroker

REPOSITORY = Path(os.environ.get("TRUNKLINE_ROOT", Path(__file__).parents[2]))
PAGE = REPOSITORY / "docs" / "patterns" / "connection.md"


class Server:
    """Accepts connections on a port of its own, and hands them over."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Peer] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        self.server = await asyncio.start_server(self.take, "127.0.0.1", 0)
        self.url = f"tcp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.accepted.put(Peer(reader, writer))

    async def accept(self) -> Peer:
        return await asyncio.wait_for(self.accepted.get(), 20)

    async def __aexit__(self, *_: object) -> None:
        self.server.close()


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def tell(self, frame: Any) -> None:
        self.writer.write(json.dumps(frame).encode() + b"\n")

    async def hear(self) -> Any:
        return json.loads(await asyncio.wait_for(self.reader.readline(), 20))


async def test_events_and_cursor_are_durable_before_the_ack(test_broker: StartBroker) -> None:
    """Proves P5b, Python part: the cursor is committed with the events, and is what is resumed from."""
    async with Server() as server:
        plugin = Plugin("chat")

        async def where(ctx: Any) -> str:
            return server.url

        waits = ("5ms", "20ms")

        @plugin.connect("chat", url=where, backoff=waits, frames="json", fatal=[4004])
        async def frame(f: Json, ctx: Context) -> Batch | Retry | None:
            if f["op"] == "hello":
                ctx.conn.heartbeat("50ms", {"op": "beat", "d": "{cursor}"}, {"op": "beaten"})
                await ctx.conn.send({"op": "login", "resume": ctx.conn.cursor})
                return None
            event = Event.inbound({"text": f["text"]})
            return Batch([event], cursor=f["seq"], ack={"acked": f["seq"]})

        broker = await test_broker(plugin)
        peer = await server.accept()
        peer.tell({"op": "hello"})
        assert await peer.hear() == {"op": "login", "resume": None}
        assert await peer.hear() == {"op": "beat", "d": None}
        peer.tell({"op": "beaten"})
        peer.tell({"op": "message", "seq": 7, "text": "a"})
        heard = await peer.hear()
        while "acked" not in heard:
            peer.tell({"op": "beaten"})
            heard = await peer.hear()
        assert heard == {"acked": 7}
        await broker.expect_published("plugin.inbound.chat.default", {"text": "a"}, within="5s")
        peer.writer.close()
        again = await server.accept()
        again.tell({"op": "hello"})
        assert await again.hear() == {"op": "login", "resume": 7}


async def test_a_plain_function_may_send(test_broker: StartBroker) -> None:
    async with Server() as server:
        plugin = Plugin("chat")

        @plugin.connect("chat", url=server.url)
        def line(text: str, ctx: SyncContext) -> Event | None:
            if text.startswith("PING"):
                ctx.conn.send("PONG" + text[4:])
                return None
            return Event.inbound({"text": text})

        broker = await test_broker(plugin)
        peer = await server.accept()
        peer.writer.write(b"hi\r\nPING 1\r\n")
        assert await asyncio.wait_for(peer.reader.readline(), 20) == b"PONG 1\r\n"
        await broker.expect_published("plugin.inbound.chat.default", {"text": "hi"}, within="5s")


async def test_the_example_of_the_page_runs(test_broker: StartBroker) -> None:
    """Proves: the code of docs/patterns/connection.md runs as it stands there, its test included."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code[0], str(PAGE), "exec"), names)
    await names["test_it_goes_on_where_it_was"](test_broker)


async def test_an_event_stream_is_played_with_its_ids(test_broker: StartBroker) -> None:
    """Proves P5c, Python part: the next request names the last event."""
    plugin = Plugin("feed")

    @plugin.connect("feed", url="https://api.example.com/events")
    async def event(f: Json) -> Event:
        return Event.inbound({"text": f["data"]["text"], "event": f["event"]})

    broker = await test_broker(plugin)
    stream = broker.socket("https://api.example.com")
    conn = await stream.accept()
    assert conn.url == "https://api.example.com/events" and "last-event-id" not in conn.headers
    conn.send({"event": "add", "id": "41", "data": {"text": "a"}, "retry": 250})
    await broker.expect_published("plugin.inbound.feed.*", {"text": "a", "event": "add"})
    conn.close()
    again = await stream.accept()
    assert again.headers["last-event-id"] == "41"
    with pytest.raises(InvalidArguments, match="the connection is not there any more"):
        conn.send({"text": "b"})


async def test_what_the_plugin_does_is_seen_from_the_other_side(test_broker: StartBroker) -> None:
    plugin = Plugin("irc")

    @plugin.connect("irc", url="tls://irc.example.com:6697", greeting=["NICK bot"])
    async def line(text: str, ctx: Context) -> Retry | None:
        if text == "RECONNECT":
            return Retry("0s", "the server asked")
        await ctx.conn.send("PONG" + text[4:])
        return None

    broker = await test_broker(plugin)
    server = broker.socket("tls://irc.example.com:6697")
    conn = await server.accept()
    conn.send("PING 1")
    conn.send("PING 2")
    assert await conn.expect(lambda line: line.endswith("2")) == "PONG 2"
    assert await conn.expect(str) == "NICK bot"
    with pytest.raises(AssertionError, match='expected "PONG 3" from the plugin within 1s'):
        await conn.expect("PONG 3", within="1s")
    conn.send("RECONNECT")
    await server.accept()
    assert (await conn.expect_closed()).code is None


async def test_a_connection_that_nobody_plays_fails_the_test(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.connect("chat", url="wss://gateway.example.com")
    async def frame(f: Json) -> None:
        return None

    broker = await test_broker(plugin)
    with pytest.raises(AssertionError, match=r'hint: broker.socket\("wss://gateway.example.com"\)'):
        await broker.socket("wss://other.example.com").accept()


async def test_what_is_wrong_with_a_connection_is_said_at_once(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.connect("chat", url="ftp://example.com")
    async def frame(f: Json) -> None:
        return None

    with pytest.raises(InvalidArguments, match="expected a url like"):
        await test_broker(plugin)
