"""Calls to servers outside: the ones that a test plays, and real ones on this machine."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from trunkline import Context, HttpError, Json, OutboundMessage, Plugin, SyncContext
from trunkline.testing import StartBroker

CONFIG = {"sid": "AC1234", "token": "tok-secret"}
TWILIO = "https://api.twilio.com"
BOMB = gzip.compress(bytes(16 << 20))


def sms() -> Plugin:
    plugin = Plugin("twilio")

    @plugin.outbound("sms")
    async def send(message: OutboundMessage, ctx: Context) -> str:
        base = "https://api.twilio.com/2010/Accounts/{config.sid}"
        api = ctx.http.at(base, basic=("{config.sid}", "{config.token}"))
        made = await api.post("/Messages.json", form={"Body": message.text, "none": None})
        return str(made.json()["sid"])

    return plugin


async def test_a_429_is_waited_for_and_the_receipt_follows(test_broker: StartBroker) -> None:
    """Proves: 429 waits as told, does not count, and the receipt follows."""
    broker = await test_broker(sms(), config=CONFIG)
    route = broker.http(TWILIO).on("POST", "*/Messages.json")
    route.reply(429, headers={"retry-after": "3"}).reply(201, json={"sid": "SM1"})
    sending = await broker.send("sms", "hi", to="+49")
    sent = {"state": "sent", "provider_id": "SM1"}
    await broker.expect_nothing("plugin.delivery.sms.*", sent, within="2s")
    receipt = await broker.expect_published("plugin.delivery.sms.*", sent, within="2s")
    assert receipt.correlation_id == sending.id
    first, second = route.requests
    assert first.path == "/2010/Accounts/AC1234/Messages.json" and second.method == "POST"
    assert first.form == {"Body": "hi"} and first.headers["authorization"].startswith("Basic ")


async def test_a_final_answer_is_a_dead_letter_without_secrets(test_broker: StartBroker) -> None:
    broker = await test_broker(sms(), config=CONFIG)
    broker.http(TWILIO).on("POST", "*").reply(400, json={"message": "tok-secret is wrong"})
    await broker.send("sms", "hi", to="+49")
    failed = {"state": "failed", "error": {"code": "delivery_failed"}}
    await broker.expect_published("plugin.delivery.sms.*", failed, within="1s")
    (letter,) = await broker.dead_letters()
    assert letter["code"] == "delivery_failed" and "tok-secret" not in json.dumps(letter)


async def test_an_error_says_what_happened(test_broker: StartBroker) -> None:
    plugin = Plugin("looker")

    @plugin.on("agent.look", timeout="20s")
    async def handler(payload: Json, ctx: Context) -> None:
        api = ctx.http.at("https://a.example/{config.token}", headers={"x-key": "{config.token}"})
        try:
            await api.post("/x", json={"n": 2**70}, query={"q": ["a", "b"]}, timeout="5s")
        except HttpError as error:
            said = [error.status, error.class_, error.retryable, error.body, error.url]
            after = error.retry_after
            said.append(None if after is None else int(after.total_seconds()))
            await ctx.publish("agent.said", {"said": said})

    broker = await test_broker(plugin, config=CONFIG)
    route = broker.http("https://a.example/tok-secret").on("*", "/x")
    route.reply(503, headers={"retry-after": "7"}, body="for tok-secret").lose().refuse()
    url = "https://a.example/{config.token}/x"
    for said in (
        [503, "answered", True, "for ***", url, 7],
        [None, "ambiguous", False, None, url, None],
        [None, "not_sent", True, None, url, None],
    ):
        await broker.publish("agent.look", {})
        await broker.expect_published("agent.said", {"said": said}, within="1s")
    seen = route.requests[0]
    assert seen.json() == {"n": 2**70} and seen.url.endswith("?q=a&q=b")
    assert seen.headers["x-key"] == "tok-secret"


async def test_a_thread_waits_for_its_answer_on_the_clock_of_the_test(
    test_broker: StartBroker,
) -> None:
    plugin = Plugin("looker")

    @plugin.on("agent.look", timeout="5m")
    def handler(payload: Json, ctx: SyncContext) -> None:
        answer = ctx.http.get("https://a.example/x", query={"n": 1})
        assert answer.bytes() == b"\xff\x00" and answer.headers["x-a"] == "b"
        assert answer.status == 200 and answer.moved_to is None
        ctx.publish("agent.said", {"text": answer.text()})

    broker = await test_broker(plugin)
    route = broker.http("https://a.example").on("GET", "/x")
    route.reply(503, headers={"retry-after": "90"}).lose()
    route.reply(200, body=b"\xff\x00", headers={"X-A": "b"})
    await broker.publish("agent.look", {})
    await broker.expect_nothing("agent.said", within="89s")
    await broker.expect_published("agent.said", {"text": "\ufffd\x00"}, within="5s")
    assert [seen.query for seen in route.requests] == [{"n": "1"}] * 3


async def test_a_call_without_an_answer_fails_the_test(test_broker: StartBroker) -> None:
    plugin = Plugin("looker")

    @plugin.on("agent.look")
    async def handler(payload: Json, ctx: Context) -> None:
        await ctx.http.get("https://a.example/x?secret=1")

    broker = await test_broker(plugin)
    await broker.publish("agent.look", {})
    with pytest.raises(AssertionError, match="no answer for GET https://a.example/x;"):
        await broker.expect_published("agent.said", within="1s")


class Server(BaseHTTPRequestHandler):
    """A real server, with each kind of answer under its own path."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        length = int(self.headers.get("content-length", 0))
        body, head = self.rfile.read(length), {}
        status = 200
        match self.path:
            case "/gzip":
                head, body = {"content-encoding": "gzip"}, gzip.compress(b'{"ok": true}')
            case "/bomb":
                head, body = {"content-encoding": "gzip"}, BOMB
            case "/away":
                status, head = 302, {"location": "http://127.0.0.1:9/x"}
            case "/loop":
                status, head = 302, {"location": "/loop"}
            case "/reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
                return
            case "/silent":
                self.connection.recv(1)
                return
            case _:
                status = 404
        self.send_response(status)
        for name, value in {**head, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return


@contextmanager
def server() -> Iterator[str]:
    Server.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.daemon_threads = True
        running.block_on_close = False
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


async def test_a_real_server_in_each_of_its_moods(
    test_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy of the environment is not asked.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    plugin = Plugin("looker")

    @plugin.on("agent.look", timeout="30s")
    async def handler(payload: Any, ctx: Context) -> None:
        at = ctx.http.at(payload["base"], guard=payload.get("guard", False))
        method = payload.get("method", "POST")
        timeout = "500ms" if payload["path"] == "/silent" else "20s"
        try:
            answer = await at.request(method, payload["path"], json=[], timeout=timeout)
            said: Any = [answer.status, answer.json()]
        except HttpError as error:
            said = [error.status, error.class_, error.retryable]
        await ctx.publish("agent.said", {"path": payload["path"], "said": said})

    broker = await test_broker(plugin)
    with server() as base:
        broker.http(base).pass_through()
        for path, said in {
            "/gzip": [200, {"ok": True}],
            "/bomb": [200, "answered", False],
            "/loop": [302, "answered", False],
            "/reset": [None, "ambiguous", False],
            "/silent": [None, "ambiguous", False],
            "/none": [404, "answered", False],
        }.items():
            await broker.publish("agent.look", {"base": base, "path": path})
            await broker.expect_published("agent.said", {"path": path, "said": said}, within="10m")
        assert [seen for seen in Server.seen if seen != "GET /loop"] == [
            "POST /gzip", "POST /bomb", "POST /loop", "POST /reset", "POST /silent", "POST /none",
        ]  # fmt: skip
        Server.seen.clear()
        await broker.publish("agent.look", {"base": base, "path": "/gzip", "guard": True})
        said = [None, "not_sent", False]
        await broker.expect_published("agent.said", {"said": said}, within="1s")
        assert Server.seen == []


async def test_the_example_of_the_documentation_runs(test_broker: StartBroker) -> None:
    """Proves: the code of docs/http-client.md runs as it stands there."""
    root = Path(os.environ.get("TRUNKLINE_ROOT", Path(__file__).parents[2]))
    text = (root / "docs" / "http-client.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict[str, Any] = {}
    exec(compile(block, "http-client.md", "exec"), names)
    await names["test_a_429_is_waited_for"](test_broker)
