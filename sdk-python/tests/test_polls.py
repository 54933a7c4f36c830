"""Pollers: what the core fetches, and what a function asks for itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from trunkline import (
    Batch,
    Context,
    Event,
    FeedItem,
    InvalidArguments,
    Json,
    Plugin,
    PollAlert,
    Reject,
)
from trunkline.testing import StartBroker

CONFIG = {"url": "https://feeds.example/news", "keyword": "rust", "token": "tok-secret"}
INBOUND = "plugin.inbound.rss.*"


def feed(*titles: str) -> str:
    items = "".join(
        f"<item><guid>id-{title}</guid><title>{title}</title>"
        f"<enclosure url='https://feeds.example/{title}.mp3' length='7' type='audio/mpeg'/></item>"
        for title in titles
    )
    return f"<rss version='2.0'><channel>{items}</channel></rss>"


async def test_new_items_of_a_feed_become_events(test_broker: StartBroker) -> None:
    """Proves P4b, Python part: new items only, asked for conditionally, over a restart."""
    plugin = Plugin("rss")

    @plugin.poll("rss", feed="{config.url}", every="2m", bearer="{config.token}")
    async def item(item: FeedItem, ctx: Context) -> Event | None:
        if ctx.config["keyword"] not in (item.title or ""):
            return None
        (enclosure,) = item.enclosures
        said = {"text": item.title, "id": item.id, "bytes": enclosure.bytes}
        return Event.inbound({**said, "conversation": {"id": "news"}})

    broker = await test_broker(plugin, config=CONFIG)
    route = broker.http("https://feeds.example").on("GET", "/news")
    route.reply(200, headers={"etag": '"1"'}, body=feed("rust two", "cats", "rust one"))
    route.reply(304).reply(200, body=feed("rust three", "rust two"))
    first = {"text": "rust one", "id": "id-rust one", "bytes": 7}
    await broker.expect_published(INBOUND, first, within="3m")
    await broker.expect_published(INBOUND, {"text": "rust two"}, within="1s")
    await broker.restart()
    await broker.expect_published(INBOUND, {"text": "rust three"}, within="10m")
    await broker.expect_nothing(INBOUND, {}, within="10m")
    asked = [each.headers.get("if-none-match") for each in route.requests[:3]]
    assert asked == [None, '"1"', '"1"']
    assert route.requests[0].headers["authorization"] == "Bearer tok-secret"


async def test_a_list_of_json_is_read_page_by_page(test_broker: StartBroker) -> None:
    """Proves P4e, Python part: a list with items path, id field and pages; functions may block."""
    plugin = Plugin("rss")

    @plugin.poll(
        "rss",
        json={
            "url": "https://feeds.example/list",
            "items_path": "data.items",
            "id_field": "n",
            "paginate": {"by": "page", "param": "page"},
        },
        cron="*/5 * * * *",
        tz="Europe/Berlin",
    )
    def item(found: Json) -> Event:
        if found["n"] == 2:
            raise Reject("not this one")
        return Event.inbound({"text": str(found["n"]), "conversation": {"id": "list"}})

    broker = await test_broker(plugin, config=CONFIG)
    route = broker.http("https://feeds.example").on("GET", "/list")
    route.reply(200, json={"data": {"items": [{"n": 1}, {"n": 2}]}})
    route.reply(200, json={"data": {"items": [{"n": 3}]}}).reply(200, json={"data": {"items": []}})
    for number in "13":
        await broker.expect_published(INBOUND, {"text": number}, within="6m")
    assert [each.query.get("page") for each in route.requests[1:3]] == ["2", "3"]
    (letter,) = await broker.dead_letters()
    assert "not this one" in str(letter)


async def test_a_function_gets_its_cursor(test_broker: StartBroker) -> None:
    """Proves P4b, Python part: the cursor moves in the commit that holds the events."""
    plugin = Plugin("rss")
    seen: list[int | None] = []

    @plugin.poll("rss", every="0s", timeout=timedelta(seconds=45))
    async def updates(offset: int | None) -> Batch:
        seen.append(offset)
        number = (offset or 0) + 1
        if number > 3:
            return Batch(again="1h")
        said = {"text": str(number), "conversation": {"id": "c"}}
        return Batch([Event.inbound(said)], cursor=number)

    broker = await test_broker(plugin, config=CONFIG)
    for number in "123":
        await broker.expect_published(INBOUND, {"text": number}, within="1m")
    await broker.settle()
    assert seen[:4] == [None, 1, 2, 3]


async def test_one_time_is_enough(test_broker: StartBroker) -> None:
    plugin = Plugin("rss")
    past = datetime(1990, 1, 1, tzinfo=timezone.utc)

    @plugin.poll("rss", at=past, every="1m")
    def updates(cursor: Json) -> None:
        return None

    with pytest.raises(InvalidArguments, match="one of every, cron and at, found every and at"):
        await test_broker(plugin, config=CONFIG)


TOLD = """
[plugin]
id = "rss"
version = "1.0.0"
command = ["rss"]
[[channels]]
kind = "rss"
[capabilities]
send = ["ops"]
[config.url]
type = "string"
[config.keyword]
type = "string"
[config.token]
type = "string"
"""


async def test_who_is_named_is_told_of_a_pause(test_broker: StartBroker) -> None:
    """Proves P4e, Python part: one message to the channel that the poller names; the credential is locked."""
    plugin = Plugin("rss")
    alert: PollAlert = {"kind": "ops", "to": "{config.keyword}", "instance": "main"}

    @plugin.poll("rss", feed="{config.url}", every="1m", credential="{config.token}", alert=alert)
    async def item(item: FeedItem) -> None:
        return None

    broker = await test_broker(plugin, config=CONFIG, manifest=TOLD)
    broker.http("https://feeds.example").on("GET", "/news").reply(410)
    text = "rss/default rss: paused: expected an answer of 200 or 304, found 410"
    told = {"text": text, "conversation": {"id": "rust"}}
    await broker.expect_published("plugin.outbound.ops.main", told, within="2m")
    await broker.expect_nothing("plugin.outbound.ops.*", {}, within="10m")
