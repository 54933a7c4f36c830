"""The plugins of the API's specification: the code as it stands there, with imports and mappings around it.

Each is loaded, and carries an event in the test broker.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from trunkline.testing import StartBroker, TestBroker

IMPORTS = """
from dataclasses import dataclass
from typing import Annotated
from trunkline import (
    Batch, Context, Event, FeedItem, InstanceContext, Json, OutboundMessage, Plugin, Reply, Retry,
    WebhookRequest, run,
)
"""

ECHO = """
plugin = Plugin("echo")

@plugin.outbound("echo")                       # what agents send to kind "echo"
async def echo(payload: Json, ctx: Context) -> Reply:
    return Reply(payload)                      # to plugin.inbound.echo.<instance>, same session; the receipt says "sent"

if __name__ == "__main__":
    run(plugin)
"""

GITHUB = """
plugin = Plugin("github")

@plugin.webhook("github", verify="github", secret="{config.webhook_secret}")
async def hook(req: WebhookRequest, ctx: Context) -> Event | None:
    body = req.json()
    if req.headers["x-github-event"] != "issues" or body["action"] != "opened": return None  # nothing to publish; the 2xx is long out
    issue = body["issue"]                                           # event id: X-GitHub-Delivery; session: conversation.id
    return Event.inbound({"text": issue["title"], "sender": {"id": issue["user"]["login"]}, "conversation": {"id": issue["html_url"]}})
"""

STRIPE = '''
plugin = Plugin("stripe")

@dataclass
class Invoice:
    id: str
    status: str

@plugin.tool(timeout="20s", concurrency=8, idempotent=True)
async def create_invoice(customer: Annotated[str, "Customer id, cus_…"], days_until_due: int, ctx: Context) -> Invoice:
    """Draft an invoice for a customer."""                          # Invoice: a dataclass, TypedDict or pydantic model
    stripe = ctx.http.at("https://api.stripe.com/v1", bearer="{config.api_key}")
    form = {"customer": customer, "days_until_due": days_until_due, "collection_method": "send_invoice"}
    made = (await stripe.post("/invoices", form=form, idempotency_key=ctx.idempotency_key)).json()
    return Invoice(id=made["id"], status=made["status"])
'''

RSS = """
def to_message(item):
    return {"text": item.title, "conversation": {"id": "news"}}

plugin = Plugin("rss")

@plugin.poll("rss", feed="{config.url}", every="30m", jitter="5m")
async def item(item: FeedItem, ctx: Context) -> Event | None:       # event id: the item's own id
    return Event.inbound(to_message(item)) if ctx.config["keyword"] in item.title else None
"""

CHAT = """
def to_message(f):
    return {"text": f["text"], "conversation": {"id": "room"}}

plugin = Plugin("chat")

@plugin.connect("chat", url="wss://gateway.example.com/v1", idle="60s", fatal=[4004])       # 4004: bad token, not retried
async def frame(f: Json, ctx: Context) -> Batch | Retry | None:
    if f["op"] == "message": return Batch([Event.inbound(to_message(f))], cursor=f["seq"], ack={"op": "ack", "seq": f["seq"]})
    if f["op"] == "reconnect": return Retry("0s", "the server asked")                       # the new socket is up before the old one closes
    if f["op"] == "invalid": return Batch(cursor=None, again="3s")                          # session gone: forget it, connect again
    if f["op"] == "hello":                                                                  # beat from now on; log in, or resume
        ctx.conn.heartbeat(f["every"], {"op": "beat", "seq": "{cursor}"}, expect={"op": "beat_ack"})
        await ctx.conn.send({"op": "login", "token": ctx.config["bot_token"], "resume": ctx.conn.cursor})
    return None
"""

TELEGRAM = """
def to_event(u):
    message = u["message"]
    return Event.inbound({"text": message["text"], "conversation": {"id": str(message["chat"]["id"])}})

plugin = Plugin("telegram")

TG = "https://api.telegram.org/bot{config.bot_token}"
@plugin.on_start
async def start(ctx: InstanceContext) -> Json:
    return (await ctx.http.at(TG).post("/getMe")).json()["result"]  # becomes ctx.state; a 401 is NeedsAuth, a 502 RetryLater
@plugin.poll("telegram", every="0s", timeout="45s")                 # 0s: again as soon as the last batch is durable
async def updates(offset: int | None, ctx: Context) -> Batch:
    query = {"offset": offset or 0, "timeout": 25, "allowed_updates": ["message"]}
    found = (await ctx.http.at(TG).post("/getUpdates", json=query, timeout="40s")).json()["result"]
    return Batch([to_event(u) for u in found], cursor=found[-1]["update_id"] + 1 if found else offset)
@plugin.outbound("telegram", rate="30/s", rate_per_target="1/s")
async def send(msg: OutboundMessage, ctx: Context) -> str:
    r = await ctx.http.at(TG).post("/sendMessage", json={"chat_id": msg.conversation.id, "text": msg.text})
    return str(r.json()["result"]["message_id"])
"""

PLUGIN = """
[plugin]
id = "{id}"
version = "0.1.0"
command = ["python3", "{id}.py"]
"""

CHANNEL = """
[[channels]]
kind = "{id}"
"""

SECRET = """
[config.{key}]
type = "string"
secret = true
"""

TEXT = """
[config.{key}]
type = "string"
"""


def loaded(code: str) -> dict[str, Any]:
    # Dataclasses look their module up.
    module = sys.modules["api_block"] = types.ModuleType("api_block")
    exec(compile(IMPORTS + code, "api.md", "exec"), module.__dict__)
    return module.__dict__


Start = Callable[..., Any]


@pytest.fixture
def started(test_broker: StartBroker) -> Start:
    async def start(code: str, manifest: str, **config: str) -> TestBroker:
        plugin = loaded(code)["plugin"]
        text = (PLUGIN + manifest).replace("{id}", plugin.id)
        return await test_broker(plugin, config=config, manifest=text)

    return start


async def test_pattern_1_echo(started: Start) -> None:
    """Proves P1: the ten-line plugin of the specification sends back what it is sent."""
    broker = await started(ECHO, CHANNEL)
    sending = await broker.send("echo", {"text": "hi"}, to="c1")
    reply = await broker.expect_published("plugin.inbound.echo.default", {"text": "hi"})
    assert reply.correlation_id == sending.id
    await broker.expect_published("plugin.delivery.echo.default", {"state": "sent"})


async def test_pattern_2_webhook_receiver(started: Start) -> None:
    broker = await started(
        GITHUB, CHANNEL + SECRET.replace("{key}", "webhook_secret"), webhook_secret="whsec"
    )
    issue = {
        "title": "It broke",
        "user": {"login": "ana"},
        "html_url": "https://github.com/a/b/issues/7",
    }
    opened = {"action": "opened", "issue": issue}
    answer = await broker.webhook(
        "github", json=opened, headers={"X-GitHub-Event": "issues"}, id="d-1"
    )
    assert answer.status == 200
    event = await broker.expect_published("plugin.inbound.github.default")
    assert event.payload["text"] == "It broke" and event.payload["sender"] == {"id": "ana"}
    assert event.session_id == issue["html_url"]
    await broker.webhook("github", json={"zen": "…"}, headers={"X-GitHub-Event": "ping"}, id="d-2")
    await broker.expect_nothing("plugin.inbound.>", within="1s")


async def test_pattern_3_rpc_bridge(started: Start) -> None:
    broker = await started(STRIPE, SECRET.replace("{key}", "api_key"), api_key="sk_1")
    route = broker.http("https://api.stripe.com").on("POST", "/v1/invoices")
    route.reply(200, json={"id": "in_1", "status": "draft", "object": "invoice"})
    args = {"customer": "cus_9", "days_until_due": 14}
    made = await broker.call_tool("stripe.create_invoice", args, idempotency_key="k1")
    assert made == {"id": "in_1", "status": "draft"}
    (request,) = route.requests
    assert request.headers["authorization"] == "Bearer sk_1"
    assert request.headers["idempotency-key"] == "k1"
    assert request.form == {
        "customer": "cus_9",
        "days_until_due": "14",
        "collection_method": "send_invoice",
    }


FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><guid>g-1</guid><title>rust 2.0</title></item>
<item><guid>g-2</guid><title>the weather</title></item>
</channel></rss>"""


async def test_pattern_4_scheduled_poller(started: Start) -> None:
    keys = TEXT.replace("{key}", "url") + TEXT.replace("{key}", "keyword")
    url = "https://feeds.example.com/news"
    broker = await started(RSS, CHANNEL + keys, url=url, keyword="rust")
    route = broker.http("https://feeds.example.com").on("GET", "/news")
    route.reply(200, body=FEED, headers={"content-type": "application/rss+xml"})
    event = await broker.expect_published("plugin.inbound.rss.default", within="40m")
    assert event.payload["text"] == "rust 2.0"
    await broker.expect_nothing("plugin.inbound.>", within="1m")


async def test_pattern_5_long_running_connection(started: Start) -> None:
    token = SECRET.replace("{key}", "bot_token") + "unique = true\n"
    broker = await started(CHAT, CHANNEL + token, bot_token="t-1")
    gateway = broker.socket("wss://gateway.example.com/v1")
    first = await gateway.accept()
    first.send({"op": "hello", "every": "30s"})
    login = await first.expect({"op": "login"})
    assert login == {"op": "login", "token": "t-1", "resume": None}
    first.send({"op": "message", "seq": 4, "text": "hi"})
    await first.expect({"op": "ack", "seq": 4})
    await broker.expect_published("plugin.inbound.chat.default", {"text": "hi"})
    assert await first.expect({"op": "beat"}, within="61s") == {"op": "beat", "seq": 4}
    first.send({"op": "beat_ack"})
    first.send({"op": "reconnect"})
    second = await gateway.accept()
    assert (await first.expect_closed()).code == 4000
    second.send({"op": "hello", "every": "30s"})
    await second.expect({"op": "login", "resume": 4})
    second.send({"op": "invalid"})
    third = await gateway.accept(within="10s")
    third.send({"op": "hello", "every": "30s"})
    await third.expect({"op": "login", "resume": None})
    third.close(4004, "bad token")
    with pytest.raises(AssertionError, match="the plugin does not try to connect"):
        await gateway.accept(within="5m")


async def test_pattern_8_multi_instance_provider(test_broker: StartBroker) -> None:
    """Proves P8a, Python part: the plugin of the specification serves two accounts alike."""
    manifest = PLUGIN + 'isolation = "shared"\n' + CHANNEL + SECRET.replace("{key}", "bot_token")
    manifest += "unique = true\n"
    broker = await test_broker(
        loaded(TELEGRAM)["plugin"],
        config={"bot_token": "t-1"},
        instances=["support", "sales"],
        manifest=manifest.replace("{id}", "telegram"),
    )
    api = broker.http("https://api.telegram.org/bott-1")
    me = api.on("POST", "/getMe").reply(200, json={"result": {"id": 1, "username": "bot"}})
    api.on("POST", "/sendMessage").reply(200, json={"result": {"message_id": 5}})
    update = {"update_id": 7, "message": {"text": "hi", "chat": {"id": 12}}}
    asked = api.on("POST", "/getUpdates").reply(200, json={"result": [update]})
    asked.reply(503, headers={"retry-after": "60"})
    event = await broker.expect_published("plugin.inbound.telegram.*", {"text": "hi"})
    assert event.payload["conversation"]["id"] == "12"
    assert len(me.requests) == 2
    assert asked.requests[0].json() == {"offset": 0, "timeout": 25, "allowed_updates": ["message"]}
    for instance in ("support", "sales"):
        sending = await broker.send("telegram", "hello", to="12", instance=instance)
        topic = f"plugin.delivery.telegram.{instance}"
        receipt = await broker.expect_published(topic, {"state": "sent"})
        assert receipt.correlation_id == sending.id and receipt.payload["provider_id"] == "5"
