"""Assemblers: parts in, one event out."""

from __future__ import annotations

import pytest
from trunkline import Context, Event, InvalidArguments, Json, Part, Plugin
from trunkline.testing import StartBroker

INBOUND = "plugin.inbound.sms.*"


def sms() -> Plugin:
    plugin = Plugin("sms")

    @plugin.on("agent.part")
    async def part(payload: Json) -> list[Part]:
        return [Part(payload["text"], **payload["of"])]

    @plugin.assemble("sms", silence="30s", max_age="10m", max_parts=64)
    async def whole(parts: list[Part], ctx: Context) -> Event:
        assert ctx.assembly is not None
        text = ("…" if ctx.assembly.missing else "").join(part.data for part in parts)
        conversation = {"id": parts[0].session}
        said = {"text": text, "conversation": conversation, "why": ctx.assembly.reason}
        return Event.inbound(said)

    return plugin


async def test_parts_become_one_event(test_broker: StartBroker) -> None:
    """Proves P6a, Python part: the parts of a message become one event, in order, once."""
    broker = await test_broker(sms())
    for number, text in [(3, "c"), (1, "a"), (2, "b")]:
        of = {"session": "+49", "group": "r", "seq": number, "total": 3}
        await broker.publish("agent.part", {"text": text, "of": of}, session="+49")
    event = await broker.expect_published(INBOUND, {"text": "abc", "why": "complete"}, within="1s")
    assert event.session_id == "+49"


async def test_silence_ends_a_whole(test_broker: StartBroker) -> None:
    """Proves P6b, Python part: what was collected survives the broker."""
    broker = await test_broker(sms())
    for number in (1, 3):
        of = {"session": "+49", "group": "r", "seq": number}
        await broker.publish("agent.part", {"text": str(number), "of": of}, session="+49")
    await broker.settle()
    await broker.restart()
    await broker.expect_published(INBOUND, {"text": "1…3", "why": "silence"}, within="1m")


async def test_bad_options_are_refused(test_broker: StartBroker) -> None:
    plugin = Plugin("sms")

    @plugin.assemble("sms", max_parts=500)
    def whole(parts: list[Part]) -> None:
        return None

    with pytest.raises(InvalidArguments, match="1 to 200"):
        await test_broker(plugin)
