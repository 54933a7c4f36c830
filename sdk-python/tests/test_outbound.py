"""Outbound adapters: no call is made twice that may not be."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from trunkline import Context, InvalidArguments, OutboundMessage, Plugin, Receipt, Retry
from trunkline.testing import StartBroker

DELIVERY = "plugin.delivery.sms.*"
MANIFEST = """
[plugin]
id = "sms"
version = "0.1.0"
command = ["./sms"]
[[channels]]
kind = "sms"
features = { text_chars_max = 10 }
"""


def adapter(**options: Any) -> tuple[Plugin, list[str]]:
    plugin, keys = Plugin("sms"), []

    @plugin.outbound("sms", **options)
    async def send(message: OutboundMessage, ctx: Context) -> str:
        keys.append(ctx.idempotency_key)
        return f"SM{len(keys)}"

    return plugin, keys


async def test_a_death_after_the_call_is_unknown(test_broker: StartBroker) -> None:
    """Proves P7c, Python part: unknown, and not a second message."""
    plugin, keys = adapter(rate="100/s", rate_per_target="50/s")
    broker = await test_broker(plugin)
    broker.kill(at="before_commit")
    await broker.send("sms", "hi", to="+49")
    await broker.expect_published(DELIVERY, {"state": "unknown"}, within="1m")
    assert len(keys) == 1


async def test_an_idempotent_call_is_made_again(test_broker: StartBroker) -> None:
    """Proves P7c, Python part: the same key at every attempt."""
    plugin, keys = adapter(idempotent=True)
    broker = await test_broker(plugin)
    broker.kill(at="before_commit")
    await broker.send("sms", "hi", to="+49")
    await broker.expect_published(DELIVERY, {"state": "sent"}, within="1m")
    assert len(keys) == 2 and keys[0] == keys[1]


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_provider_is_asked(test_broker: StartBroker, is_async: bool) -> None:
    """Proves P7c, Python part: what the provider has is not sent again."""
    asked = []

    async def look_up(message: OutboundMessage, ctx: Context) -> str:
        asked.append(message.text)
        return "SM7"

    def blocks(message: OutboundMessage) -> Receipt:
        asked.append(message.text)
        return Receipt("sent", provider_id="SM7")

    plugin, keys = adapter(reconcile=look_up if is_async else blocks)
    broker = await test_broker(plugin)
    broker.kill(at="before_commit")
    await broker.send("sms", "hi", to="+49")
    found = await broker.expect_published(DELIVERY, {"state": "sent"}, within="1m")
    assert found.payload["provider_id"] == "SM7"
    assert len(keys) == 1 and asked == ["hi"]


async def test_parts_have_their_receipts(test_broker: StartBroker) -> None:
    """Proves P7e, Python part: a long text is split, and ``ctx.split`` says how."""
    plugin, seen = Plugin("sms"), []

    @plugin.outbound("sms", rate="100/s")
    def send(message: OutboundMessage, ctx: Any) -> str:
        seen.append((message.text, ctx.split))
        if ctx.split == (2, 2) and not ctx.delivery.redelivered:
            raise Retry("1s", "busy")
        return "x"

    broker = await test_broker(plugin, manifest=MANIFEST)
    await broker.send("sms", "one two. three.", to="+49")
    for n in (1, 2):
        part = {"state": "sent", "part": {"n": n, "of": 2}}
        await broker.expect_published(DELIVERY, part, within="1m")
    assert seen == [("one two.", (1, 2)), ("three.", (2, 2)), ("three.", (2, 2))]


async def test_a_later_receipt_finds_its_message(test_broker: StartBroker) -> None:
    """Proves P7a, Python part: any handler may say a later state."""
    plugin, _ = adapter(rate="100/s")

    @plugin.on("agent.status")
    async def status(payload: dict[str, Any]) -> Receipt:
        return Receipt("delivered", provider_id=payload["id"])

    broker = await test_broker(plugin)
    sending = await broker.send("sms", "hi", to="+49")
    await broker.expect_published(DELIVERY, {"state": "sent"}, within="1s")
    await broker.publish("agent.status", {"id": "SM1"})
    found = await broker.expect_published(DELIVERY, {"state": "delivered"}, within="5s")
    assert (found.correlation_id, found.session_id) == (sending.id, "+49")


async def test_a_rate_that_is_none_is_refused(test_broker: StartBroker) -> None:
    plugin, _ = adapter(rate="fast")
    with pytest.raises(InvalidArguments, match="30/s"):
        await test_broker(plugin)


async def test_the_example_of_the_guide_runs(test_broker: StartBroker) -> None:
    guide = Path(os.environ["TRUNKLINE_ROOT"], "docs", "patterns", "outbound.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", guide, re.S)
    names: dict[str, Any] = {}
    exec(compile(code, "outbound.md", "exec"), names)
    broker = await test_broker(names["plugin"])
    broker.kill(at="before_commit")
    await broker.send("sms", "hi", to="+49")
    sent = {"state": "sent", "provider_id": "SM1"}
    await broker.expect_published(DELIVERY, sent, within="1m")
