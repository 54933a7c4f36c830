from pathlib import Path

from echo import plugin
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()


async def test_what_is_sent_comes_back(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST)
    sending = await broker.send("echo", "hi", to="room-1")
    answer = await broker.expect_published("plugin.inbound.echo.*", {"text": "hi"})
    assert answer.correlation_id == sending.id
    assert (await sending.until("sent")).state == "sent"
