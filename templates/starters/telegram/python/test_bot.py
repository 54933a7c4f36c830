from pathlib import Path

from bot import plugin
from trunkline.testing import HttpFake, StartBroker, TestBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"bot_token": "1:t0ken", "api": "https://api.telegram.org"}
CHAT = {"id": 42, "type": "private", "first_name": "Ada"}
HI = {"update_id": 917, "message": {"message_id": 5, "from": CHAT, "chat": CHAT, "text": "hi"}}


async def start(test_broker: StartBroker) -> tuple[TestBroker, HttpFake]:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    telegram = broker.http("https://api.telegram.org/bot1:t0ken")
    telegram.on("POST", "/getUpdates").lose()  # nobody writes
    telegram.on("POST", "/getMe").reply(200, json={"ok": True, "result": {"username": "a_bot"}})
    return broker, telegram


async def test_what_people_write_comes_in_once(test_broker: StartBroker) -> None:
    broker, telegram = await start(test_broker)
    route = telegram.on("POST", "/getUpdates")
    route.reply(200, json={"ok": True, "result": [HI]}).lose()
    event = await broker.expect_published("plugin.inbound.telegram.*", {"text": "hi"})
    assert event.payload["conversation"] == {"id": "42", "kind": "private"}
    await broker.settle()
    assert [request.json()["offset"] for request in route.requests] == [0, 918]


async def test_what_agents_send_goes_out(test_broker: StartBroker) -> None:
    broker, telegram = await start(test_broker)
    route = telegram.on("POST", "/sendMessage")
    route.reply(429, headers={"retry-after": "2"}).reply(200, json={"result": {"message_id": 6}})
    await broker.send("telegram", "hello", to="42")
    sent = {"state": "sent", "provider_id": "6"}
    await broker.expect_published("plugin.delivery.telegram.*", sent, within="5s")
    assert route.requests[1].json() == {"chat_id": "42", "text": "hello"}
