from pathlib import Path

from chat import plugin
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
URL = "wss://gateway.example.com/v1"
CONFIG = {"url": URL, "token": "t0ken"}


async def test_it_resumes_where_the_events_are_durable(test_broker: StartBroker) -> None:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    gateway = broker.socket(URL)
    for resume in (None, 7):
        peer = await gateway.accept()
        peer.send({"op": "hello", "every": "30s"})
        login = await peer.expect({"op": "login"})
        assert login == {"op": "login", "token": "t0ken", "resume": resume}
        if resume is None:
            peer.send({"op": "message", "seq": 7, "room": "lobby", "text": "hi"})
            await peer.expect({"op": "ack", "seq": 7})
            await broker.expect_published("plugin.inbound.chat.*", {"text": "hi"})
            await broker.send("chat", "hello", to="lobby")
            await peer.expect({"op": "say", "room": "lobby", "text": "hello"})
            peer.close(1001)
