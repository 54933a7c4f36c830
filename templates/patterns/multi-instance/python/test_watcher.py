from pathlib import Path

from trunkline.testing import StartBroker
from watcher import plugin

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()


async def test_an_account_counts_for_itself(test_broker: StartBroker) -> None:
    config = {"keyword": "refund"}
    accounts = ["support", "sales"]
    broker = await test_broker(plugin, manifest=MANIFEST, config=config, instances=accounts)
    await broker.send("watcher", "no", to="a", instance="support")
    for account in ("support", "support", "sales"):
        await broker.send("watcher", "a refund", to="a", instance=account)
    for text in ("support saw 1", "support saw 2", "sales saw 1"):
        topic = f"plugin.inbound.watcher.{text.split()[0]}"
        await broker.expect_published(topic, {"text": text})
    await broker.expect_nothing("plugin.inbound.watcher.*", within="1s")
