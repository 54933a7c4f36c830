import asyncio
from pathlib import Path

from mail import plugin
from trunkline.testing import StartBroker

MANIFEST = Path(__file__).with_name("plugin.toml").read_text()
CONFIG = {"host": "127.0.0.1", "from": "bot@example.com", "subject": "A message", "user": ""}


class Server:
    """Is an SMTP server as a test plays it: what it answers to mails, then 250, and what it took."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.mails: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            command = line.decode().strip().upper()
            answer = "221 bye" if command == "QUIT" else "250 ok"
            if command.startswith("RCPT") and self.answers and self.answers[0].startswith("450"):
                answer = self.answers.pop(0)
            if command == "DATA":
                writer.write(b"354 go on\r\n")
                mail = (await reader.readuntil(b"\r\n.\r\n")).decode()
                answer = self.answers.pop(0) if self.answers else answer
                self.mails += [mail] if answer.startswith("250") else []
            writer.write(f"{answer}\r\n".encode())
        writer.close()


async def deliver(test_broker: StartBroker, server: Server, state: str) -> None:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        config = {**CONFIG, "port": port}
        broker = await test_broker(plugin, manifest=MANIFEST, config=config)
        await broker.send("email", "hello", to="ada@example.com")
        await broker.expect_published("plugin.delivery.email.*", {"state": state}, within="5m")


async def test_a_busy_server_is_asked_again(test_broker: StartBroker) -> None:
    server = Server("450 not yet", "451 try later")
    await deliver(test_broker, server, "sent")
    assert len(server.mails) == 1
    assert "To: ada@example.com" in server.mails[0] and "hello" in server.mails[0]


async def test_a_refusal_is_final(test_broker: StartBroker) -> None:
    server = Server("554 no spam, please")
    await deliver(test_broker, server, "failed")
    assert server.mails == []
