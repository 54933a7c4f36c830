from pathlib import Path

from hook import plugin
from trunkline import Client, InboundMessage, Reply
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"secret": "s3cret", "reply_url": "https://shop.example.com/answers"}


async def test_a_message_comes_in_and_its_answer_is_posted_back(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    route = broker.http("https://shop.example.com").on("POST", "/answers").reply(202)
    agent = Client("agent")

    @agent.on("plugin.inbound.webhook.>")
    async def answer(message: InboundMessage) -> Reply:
        return Reply(f"you said: {message.text}")

    await broker.attach(agent)
    question = {"conversation": "order-17", "sender": "ada", "text": "where is it?"}
    sent = await broker.webhook("webhook", json=question, session="order-17")
    assert sent.status == 200
    await broker.expect_published("plugin.delivery.webhook.*", {"state": "sent"})
    told = {"conversation": "order-17", "text": "you said: where is it?"}
    assert [request.json() for request in route.requests] == [told]
