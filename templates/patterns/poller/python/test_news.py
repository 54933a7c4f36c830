from pathlib import Path

from news import plugin
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"url": "https://example.com/feed.json", "keyword": "rail"}


async def test_an_item_with_the_keyword_is_one_event(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    items = [{"id": "1", "title": "A new rail"}, {"id": "2", "title": "A new road"}]
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "News", "items": items}
    route = broker.http("https://example.com").on("GET", "/feed.json").reply(200, json=feed)
    await broker.expect_published("plugin.inbound.news.*", {"text": "A new rail"}, within="20m")
    await broker.expect_nothing("plugin.inbound.news.*", within="20m")
    assert len(route.requests) > 1
