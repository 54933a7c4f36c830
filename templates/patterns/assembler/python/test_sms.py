from pathlib import Path

from sms import plugin
from trunkline.testing import StartBroker, TestBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"webhook_secret": "whsec_c2VjcmV0"}


async def post(broker: TestBroker, ref: str, part: int, text: str) -> None:
    sms = {"from": "+491511", "ref": ref, "part": part, "parts": 2, "text": text}
    assert (await broker.webhook("sms", json=sms, session="+491511")).status == 200


async def test_parts_in_any_order_are_one_message(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    await post(broker, "a", 2, "world")
    await post(broker, "a", 1, "hello ")
    await broker.expect_published("plugin.inbound.sms.*", {"text": "hello world"}, within="1s")


async def test_what_is_missing_is_not_waited_for_for_ever(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    await post(broker, "b", 1, "hello ")
    await broker.expect_nothing("plugin.inbound.sms.*", within="29s")
    await broker.expect_published("plugin.inbound.sms.*", {"text": "hello "}, within="5s")
