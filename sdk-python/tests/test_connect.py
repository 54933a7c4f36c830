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
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code[0], str(PAGE), "exec"), names)
    async with Server() as server:
        # The same frames, as text of lines: the page's protocol needs no WebSocket.
        _, options = names["plugin"]._patterns["connects"][0]
        options["frames"] = "json"
        broker = await test_broker(names["plugin"], config={"url": server.url})
        peer = await server.accept()
        peer.tell({"op": "hello", "every": "30s"})
        login = await peer.hear()
        assert login == {"op": "login", "resume": None}
        peer.tell({"op": "message", "seq": 1, "text": "a"})
        assert await peer.hear() == {"op": "ack", "seq": 1}
        await broker.expect_published("plugin.inbound.chat.default", {"text": "a"}, within="5s")
        await broker.send("chat", {"text": "hi"}, to="c1")
        assert await peer.hear() == {"op": "say", "text": "hi"}


async def test_what_is_wrong_with_a_connection_is_said_at_once(test_broker: StartBroker) -> None:
    plugin = Plugin("chat")

    @plugin.connect("chat", url="ftp://example.com")
    async def frame(f: Json) -> None:
        return None

    with pytest.raises(InvalidArguments, match="expected a url like"):
        await test_broker(plugin)
