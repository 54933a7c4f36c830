from pathlib import Path

from sms import plugin
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"sid": "AC1", "auth_token": "t0ken", "from": "+15005550006"}


async def test_429_is_waited_for_and_the_receipt_follows(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    route = broker.http("https://api.twilio.com").on("POST", "*/AC1/Messages.json")
    route.reply(429, headers={"retry-after": "3"}).reply(201, json={"sid": "SM1"})
    sending = await broker.send("sms", "hi", to="+15005550009")
    await broker.expect_nothing("plugin.delivery.sms.*", {"state": "sent"}, within="2s")
    receipt = await broker.expect_published("plugin.delivery.sms.*", {"state": "sent"}, within="2s")
    assert receipt.correlation_id == sending.id
    assert receipt.payload["provider_id"] == "SM1"
    sent = {"To": "+15005550009", "From": "+15005550006", "Body": "hi"}
    assert [request.form for request in route.requests] == [sent, sent]
