"""Webhooks that the manifest says everything about: parts and receipts without a handler."""

from __future__ import annotations

from typing import Any

from trunkline import Context, Event, OutboundMessage, Part, Plugin
from trunkline.testing import StartBroker

MANIFEST = """
channels = [{{ kind = "sms", features = {{ text_chars_max = 1600 }} }}]
webhooks = [{webhook}]
[plugin]
id = "sms"
version = "0.1.0"
command = ["./sms"]
[config]
webhook_secret = {{ type = "string", secret = true }}
auth_token = {{ type = "string", secret = true }}
sid = {{ type = "string" }}
from = {{ type = "string" }}
"""
PARTS = MANIFEST.format(
    webhook="""{ kind = "sms", verify = "standard", secret = "{config.webhook_secret}",
part = { session = "/from", group = "/ref", seq = "/part", total = "/parts", data = "/text" } }"""
)
RECEIPTS = MANIFEST.format(
    webhook="""{ kind = "sms", name = "status", verify = "twilio", secret = "{config.auth_token}",
receipt = { provider_id = "/MessageSid", state = "/MessageStatus", states = { undelivered = "failed" } } }"""
)
CONFIG: dict[str, Any] = {
    "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "auth_token": "12345",
    "sid": "AC1",
    "from": "+491",
}


async def test_a_declared_webhook_brings_the_parts_of_a_message(test_broker: StartBroker) -> None:
    """Proves P6a, declared, Python part: a webhook of the manifest is a source of the assembler."""
    plugin = Plugin("sms")

    @plugin.assemble("sms", silence="30s", max_age="10m", max_parts=64)
    async def whole(parts: list[Part], ctx: Context) -> Event:
        missing = ctx.assembly.missing if ctx.assembly else []
        text = ("…" if missing else "").join(p.data for p in parts)
        conversation = {"id": parts[0].session, "kind": "sms"}
        return Event.inbound({"text": text, "conversation": conversation})

    broker = await test_broker(plugin, manifest=PARTS, config=CONFIG)
    for number, text in [(3, "c"), (1, "a"), (2, "b")]:
        sms = {"from": "+49", "ref": "r", "part": number, "parts": 3, "text": text}
        await broker.webhook("sms", json=sms)
    await broker.expect_published("plugin.inbound.sms.*", {"text": "abc"}, within="1s")
    await broker.webhook("sms", json={"text": "of nobody"})
    letter = (await broker.dead_letters())[0]
    assert "at /from, found nothing" in str(letter)


async def test_a_status_callback_becomes_a_receipt(test_broker: StartBroker) -> None:
    """Proves P7a, declared, Python part: a webhook of the manifest tells later states."""
    plugin = Plugin("sms")

    @plugin.outbound("sms", rate="100/s", rate_per_target="1/s", timeout="15s")
    async def send(msg: OutboundMessage, ctx: Context) -> str:
        api = ctx.http.at(
            "https://api.twilio.com/2010-04-01/Accounts/{config.sid}",
            basic=("{config.sid}", "{config.auth_token}"),
        )
        assert msg.conversation is not None
        form = {
            "To": msg.conversation.id,
            "From": ctx.config["from"],
            "Body": msg.text,
            "StatusCallback": ctx.hook_url("status"),
        }
        return str((await api.post("/Messages.json", form=form)).json()["sid"])

    broker = await test_broker(plugin, manifest=RECEIPTS, config=CONFIG)
    api = broker.http("https://api.twilio.com")
    calls = api.on("POST", "*/Messages.json").reply(201, json={"sid": "SM1"})
    sending = await broker.send("sms", "hi", to="+4915112345")
    told = {"MessageSid": "SM1", "MessageStatus": "undelivered"}
    await broker.webhook("sms", name="status", form=told)
    delivery = "plugin.delivery.sms.*"
    receipt = await broker.expect_published(delivery, {"state": "failed"}, within="2s")
    assert receipt.correlation_id == sending.id
    assert calls.requests[0].form["StatusCallback"].endswith("/hooks/sms/default/status")
