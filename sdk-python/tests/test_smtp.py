"""An adapter that sends mail, with ``smtplib`` in a thread, against a real SMTP server."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
from collections.abc import AsyncGenerator
from email.message import EmailMessage

import pytest
from trunkline import Context, OutboundMessage, Plugin, Reject, Retry
from trunkline.testing import StartBroker

smtp = pytest.importorskip("aiosmtpd.smtp")
DELIVERY = "plugin.delivery.mail.*"


class Mailbox:
    """What the server answers, one after the other, then 250; and what it took."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.taken: list[str] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            self.taken.append(envelope.content.decode().strip())  # type: ignore[attr-defined]
        return answer


def adapter(port: int) -> Plugin:
    plugin = Plugin("mail")

    def deliver(message: OutboundMessage, key: str) -> str:
        mail, name = EmailMessage(), f"<{key}@example.org>"
        mail["To"], mail["From"], mail["Message-ID"] = "a@example.org", "b@example.org", name
        mail.set_content(message.text or "")
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as server:
            server.send_message(mail)
        return name

    @plugin.outbound("mail", rate="100/s")
    async def send(message: OutboundMessage, ctx: Context) -> str:
        try:
            return await asyncio.to_thread(deliver, message, ctx.idempotency_key)
        except smtplib.SMTPResponseException as refused:
            if refused.smtp_code < 500:
                raise Retry("30s", f"the server said {refused.smtp_code}") from refused
            raise Reject(
                f"the server said {refused.smtp_code}", code="delivery_failed"
            ) from refused

    return plugin


@contextlib.asynccontextmanager
async def serve(mailbox: Mailbox) -> AsyncGenerator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: smtp.SMTP(mailbox, hostname="mail.example"), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_what_the_server_takes_is_sent(test_broker: StartBroker) -> None:
    """Proves P7a, SMTP part: 250 is ``sent``, once, with the message's id."""
    mailbox = Mailbox()
    async with serve(mailbox) as port:
        broker = await test_broker(adapter(port))
        await broker.send("mail", "hi", to="a")
        receipt = await broker.expect_published(DELIVERY, {"state": "sent"}, within="1m")
        assert receipt.payload["provider_id"].endswith("@example.org>")
    assert len(mailbox.taken) == 1 and mailbox.taken[0].endswith("hi")


async def test_a_server_that_is_busy_is_asked_again(test_broker: StartBroker) -> None:
    """Proves P7b, SMTP part: 4xx is tried again later, and the message is sent once."""
    mailbox = Mailbox("451 try later", "421 too many")
    async with serve(mailbox) as port:
        broker = await test_broker(adapter(port))
        await broker.send("mail", "hi", to="a")
        await broker.expect_published(DELIVERY, {"state": "sent"}, within="5m")
    assert mailbox.asked == 3 and len(mailbox.taken) == 1


async def test_a_refusal_is_final(test_broker: StartBroker) -> None:
    """Proves P7b, SMTP part: 5xx is ``failed``, and not tried again."""
    mailbox = Mailbox("550 no such user")
    async with serve(mailbox) as port:
        broker = await test_broker(adapter(port))
        await broker.send("mail", "hi", to="a")
        receipt = await broker.expect_published(DELIVERY, {"state": "failed"}, within="1m")
        assert receipt.payload["error"]["code"] == "delivery_failed"
        await broker.expect_nothing(DELIVERY, {}, within="20m")
    assert mailbox.asked == 1 and not mailbox.taken
