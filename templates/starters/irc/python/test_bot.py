from pathlib import Path

from bot import plugin
from trunkline.testing import SocketConn, StartBroker, TestBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"server": "tls://irc.example.com:6697", "nick": "bot", "room": "#lobby"}


async def join(test_broker: StartBroker) -> tuple[TestBroker, SocketConn]:
    broker = await test_broker(plugin, manifest=MANIFEST, config=CONFIG)
    server = await broker.socket(CONFIG["server"]).accept()
    await server.expect("USER bot 0 * :bot")
    server.send(":irc.example.com 001 bot :Welcome")
    await server.expect("JOIN #lobby")
    return broker, server


async def test_what_people_say_comes_in(test_broker: StartBroker) -> None:
    broker, server = await join(test_broker)
    server.send(":ada!a@example.com PRIVMSG #lobby :hi: there")
    event = await broker.expect_published("plugin.inbound.irc.*", {"text": "hi: there"})
    assert event.payload["sender"]["id"] == "ada"
    assert event.payload["conversation"]["id"] == "#lobby"
    server.send("PING :1")
    await server.expect("PONG :1")


async def test_what_agents_send_goes_out_line_by_line(test_broker: StartBroker) -> None:
    broker, server = await join(test_broker)
    await broker.send("irc", "hello\nQUIT", to="#lobby")
    await server.expect("PRIVMSG #lobby :hello")
    await server.expect("PRIVMSG #lobby :QUIT")
    await broker.expect_published("plugin.delivery.irc.*", {"state": "sent"})
    await broker.send("irc", "to nobody by name")
    await server.expect("PRIVMSG #lobby :to nobody by name")
    await broker.send("irc", "hi", to="#lobby\r\nQUIT")
    await broker.expect_published("plugin.delivery.irc.*", {"state": "failed"})
