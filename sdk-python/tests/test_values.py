"""Values cross exactly, in both directions; what has no JSON form is refused in the caller."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any

import pytest
from trunkline import (
    Context,
    InboundMessage,
    InvalidPayload,
    Json,
    Plugin,
    Reply,
    SyncContext,
    _core,
)
from trunkline.testing import StartBroker

EXACT: list[Any] = [
    {},
    [],
    None,
    True,
    False,
    0,
    -0.0,
    1.0,
    1.5e300,
    5e-324,
    0.1,
    2**53 + 1,
    -(2**53) - 1,
    2**63,
    2**64,
    -(2**200),
    "",
    'é\u0000\n\t"\\/\u2028 \U0001f600 ',
    [[[]], {}, [{}]],
    {"": {"a b": [1, 2.5, "x", None]}, "n": 12345678901234567890123},
]
PLAIN = namedtuple("PLAIN", "a b")


class Word(str, Enum):
    YES = "yes"


class Number(IntEnum):
    BIG = 2**70


@dataclass
class Order:
    id: int
    lines: list[str]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_values_are_written_and_read_exactly(value: Any) -> None:
    """Proves W4, Python part: integers beyond 2^53, `{}` against `[]`, null and text survive."""
    text = _core.dumps(value)
    assert json.loads(text) == value
    found = _core.loads(text)
    assert (found, type(found)) == (value, type(value))
    assert math.copysign(1, found) == math.copysign(1, value) if value == 0 else True


@pytest.mark.parametrize(
    "value, text",
    [
        ((1, (2,)), "[1,[2]]"),
        (PLAIN(1, [2]), "[1,[2]]"),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (Word.YES, '"yes"'),
        (Number.BIG, str(2**70)),
        ({Word.YES: 1}, '{"yes":1}'),
        (Order(2**60, ["x"]), f'{{"id":{2**60},"lines":["x"]}}'),
        (InboundMessage({"text": "t", "x": 1}), '{"text":"t","x":1}'),
    ],
    ids=repr,
)
def test_typed_values_have_a_plain_form(value: Any, text: str) -> None:
    assert _core.dumps(value).decode() == text


def test_models_have_a_plain_form() -> None:
    msgspec = pytest.importorskip("msgspec")
    pydantic = pytest.importorskip("pydantic")
    struct = msgspec.defstruct("S", [("a", int)])
    model = pydantic.create_model("M", a=(int, ...))
    assert _core.dumps([struct(1), model(a=2)]) == b'[{"a":1},{"a":2}]'


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


REFUSED: list[tuple[Any, str]] = [
    (float("nan"), "expected a finite number, found NaN"),
    ({"a": [float("inf")]}, "expected a finite number, found inf"),
    (-math.inf, "expected a finite number, found -inf"),
    ({1: 2}, "expected keys that are text, found int"),
    ({1, 2}, "expected a value that JSON has, found set"),
    (b"x", "expected a value that JSON has, found bytes"),
    (object(), "expected a value that JSON has, found object"),
    (3 + 4j, "expected a value that JSON has, found complex"),
    (cycle(), "levels"),
    (deep(130), "levels"),
]
NOT_SENT = [*REFUSED, ("\ud800", "surrogate"), ({"\udfff": 1}, "surrogate"), (deep(70), "levels")]


@pytest.mark.parametrize("value, text", REFUSED, ids=lambda each: str(each)[:30])
def test_what_has_no_json_form_is_refused(value: Any, text: str) -> None:
    """Proves W5, Python part: NaN and its like raise in the caller."""
    with pytest.raises(InvalidPayload, match=text) as refused:
        _core.dumps(value)
    assert refused.value.message.startswith("a payload must be valid JSON: ")


async def test_nothing_of_it_reaches_the_wire(test_broker: StartBroker) -> None:
    """Proves W5, Python part: a publish of it raises in the caller, sync or not."""
    plugin = Plugin("echo")
    seen: list[int] = []

    @plugin.on("agent.async")
    async def calls(payload: Json, ctx: Context) -> None:
        for value, text in NOT_SENT:
            with pytest.raises(InvalidPayload, match=text):
                await ctx.publish("agent.out", value)
            with pytest.raises(InvalidPayload, match=text):
                await ctx.kv.put("k", {"v": value})
        seen.append(1)

    @plugin.on("agent.sync")
    def blocks(payload: Json, ctx: SyncContext) -> None:
        for value, text in NOT_SENT:
            with pytest.raises(InvalidPayload, match=text):
                ctx.publish("agent.out", value)
        seen.append(2)

    broker = await test_broker(plugin)
    await broker.publish("agent.async", 1)
    await broker.publish("agent.sync", 1)
    await broker.expect_nothing("agent.out", within="1s")
    assert sorted(seen) == [1, 2], await broker.dead_letters()


@pytest.mark.parametrize("n", [1, 2**64])
async def test_large_payloads_are_read_exactly(test_broker: StartBroker, n: int) -> None:
    """Proves W4, Python part: also where another reader is quicker."""
    plugin = Plugin("echo")
    seen: list[Any] = []
    value = {"n": n, "list": [{"i": i, "t": "é" * 20, "f": i / 7} for i in range(200)]}

    @plugin.on("agent.x")
    async def take(payload: Json) -> None:
        seen.append(payload)

    broker = await test_broker(plugin)
    await broker.publish("agent.x", value)
    await broker.settle()
    assert seen == [value] and type(seen[0]["n"]) is int


async def test_values_cross_the_broker_both_ways(test_broker: StartBroker) -> None:
    """Proves W4, Python part: what is published is what the other side reads, and replies."""
    plugin = Plugin("echo")
    seen: list[Any] = []

    @plugin.outbound("echo")
    async def echo(payload: Json, ctx: Context) -> Reply:
        return Reply({"text": "t", "value": payload["value"]})

    @plugin.on("agent.x")
    async def take(payload: Json, ctx: Context) -> None:
        assert ctx.event.payload == payload
        seen.append(payload)

    broker = await test_broker(plugin)
    for n, value in enumerate(EXACT):
        await broker.publish("agent.x", value)
        await broker.send("echo", {"text": "q", "value": value}, to=f"c{n}")
        answer = await broker.expect_published("plugin.inbound.>", within="5s")
        found = answer.payload["value"]
        assert (found, type(found)) == (value, type(value))
    await broker.settle()
    assert seen == EXACT
    assert [type(each) for each in seen] == [type(each) for each in EXACT]
