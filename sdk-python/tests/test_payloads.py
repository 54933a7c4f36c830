"""The annotation of the payload decides its form; what does not fit is rejected with a pointer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict, Union

import pytest
from trunkline import (
    Context,
    Event,
    InboundMessage,
    InvalidArguments,
    Json,
    OutboundMessage,
    Plugin,
    Reject,
)
from trunkline._handler import Handler
from trunkline._payload import Misfit, form_of, reader
from trunkline.testing import StartBroker


class Color(Enum):
    RED = "red"


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)
    note: str | None = None
    color: Color = Color.RED
    parent: Order | None = None


class Address(TypedDict, total=False):
    city: str


class Person(TypedDict):
    name: str
    address: Address


GOOD: list[tuple[Any, Any, Any]] = [
    (str, "x", "x"),
    (int, 2**70, 2**70),
    (float, 1, 1.0),
    (bool, True, True),
    (list[int], [1, 2], [1, 2]),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (Literal["a", 1], "a", "a"),
    (Union[int, str], "x", "x"),  # noqa: UP007
    (int | None, None, None),
    (Annotated[int, "n"], 3, 3),
    (
        Order,
        {"id": 1, "lines": [{"sku": "a"}], "color": "red", "unknown": 1},
        Order(1, [Line("a")]),
    ),
    (Order, {"id": 1, "parent": {"id": 2}}, Order(1, parent=Order(2))),
    (
        Person,
        {"name": "n", "address": {"zip": 1}, "more": []},
        {"name": "n", "address": {"zip": 1}, "more": []},
    ),
]


@pytest.mark.parametrize("kind, value, found", GOOD, ids=str)
def test_what_fits_is_read(kind: Any, value: Any, found: Any) -> None:
    assert reader(kind)(value, "") == found


BAD: list[tuple[Any, Any, str]] = [
    (int, "x", ""),
    (int, True, ""),
    (int, 1.0, ""),
    (str, None, ""),
    (list[int], [1, "x"], "/1"),
    (dict[str, int], {"a/b~c": "x"}, "/a~1b~0c"),
    (Literal["a"], "b", ""),
    (Color, "blue", ""),
    (Order, {"id": 1, "lines": [{"sku": "a"}, {"sku": 5}]}, "/lines/1/sku"),
    (Order, {"lines": []}, ""),
    (Order, {"id": 1, "parent": {"id": "x"}}, "/parent/id"),
    (Person, {"name": "n", "address": {"city": 1}}, "/address/city"),
    (InboundMessage, "text", ""),
]


@pytest.mark.parametrize("kind, value, pointer", BAD, ids=str)
def test_what_does_not_fit_has_a_pointer(kind: Any, value: Any, pointer: str) -> None:
    with pytest.raises(Misfit) as misfit:
        reader(kind)(value, "")
    assert misfit.value.pointer == pointer


def test_models_are_read_and_their_errors_have_pointers() -> None:
    msgspec = pytest.importorskip("msgspec")
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", n=(int, ...))
    model = pydantic.create_model("M", a=(list[inner], ...))
    struct = msgspec.defstruct("S", [("a", list[int])])
    assert reader(model)({"a": [{"n": 1}]}, "").a[0].n == 1
    assert reader(struct)({"a": [1]}, "").a == [1]
    for kind, bad, pointer in [
        (model, {"a": [{"n": 1}, {"n": "x"}]}, "/a/1/n"),
        (struct, {"a": [1, "x"]}, "/a/1"),
        (struct, {}, ""),
    ]:
        with pytest.raises(Misfit) as misfit:
            reader(kind)(bad, "")
        assert misfit.value.pointer == pointer


def test_what_no_payload_can_be_read_as_is_refused_at_registration() -> None:
    with pytest.raises(TypeError, match="expected a type that a payload can be read as"):
        form_of(set[int])
    plugin = Plugin("p")

    @plugin.on("agent.x")
    async def handle(payload: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidArguments, match="NoSuchType"):
        plugin._on[0][0].resolve()

    async def three(a: Any, b: Any, c: Any) -> None: ...

    with pytest.raises(InvalidArguments, match=r"\(payload, ctx\)"):
        plugin.on("agent.x")(three)

    async def streams() -> Any:
        yield 1

    with pytest.raises(InvalidArguments, match="generator"):
        plugin.on("agent.x")(streams)
    with pytest.raises(InvalidArguments, match="name="):
        plugin.on("agent.x")(lambda payload: None)


def test_annotations_may_name_what_only_the_caller_knows() -> None:
    @dataclass
    class Local:
        n: int

    plugin = Plugin("p")

    @plugin.on("agent.x")
    async def handle(payload: Local, ctx: Context) -> None: ...

    handler: Handler = plugin._on[0][0]
    handler.resolve()
    assert handler.form is not None


async def test_every_form_reaches_its_handler(test_broker: StartBroker) -> None:
    plugin = Plugin("echo")
    seen: dict[str, Any] = {}

    @plugin.outbound("echo")
    async def out(msg: OutboundMessage, ctx: Context) -> None:
        seen["out"] = (msg.text, msg.conversation.id, ctx.kind, msg.json["more"])

    @plugin.on("agent.a")
    async def order(order: Order) -> None:
        seen["order"] = order

    @plugin.on("agent.a")
    async def raw(raw: bytes) -> None:
        seen["raw"] = raw

    @plugin.on("agent.a")
    async def event(event: Event[Order], ctx: Context) -> None:
        seen["event"] = (event.topic, event.payload.lines[0].sku, event.id == ctx.event.id)

    @plugin.on("agent.a")
    async def plain(payload: Json) -> None:
        seen["plain"] = payload

    @plugin.on("agent.b")
    async def misfit(order: Order) -> None:
        seen["misfit"] = True

    broker = await test_broker(plugin)
    await broker.send("echo", {"text": "t", "more": 1}, to="c9")
    payload = {"id": 2**60, "lines": [{"sku": "s"}]}
    await broker.publish("agent.a", payload)
    await broker.publish("agent.b", {"id": 1, "lines": [{"sku": 1}]})
    await broker.settle()
    while len(seen) < 5:
        await asyncio.sleep(0)
    assert seen["out"] == ("t", "c9", "echo", 1)
    assert seen["order"] == Order(2**60, [Line("s")])
    assert seen["raw"] == b'{"id":%d,"lines":[{"sku":"s"}]}' % 2**60
    assert seen["event"] == ("agent.a", "s", True)
    assert seen["plain"] == payload
    (dead,) = await broker.dead_letters()
    assert dead["code"] == "invalid_payload"
    assert dead["last_error"]["message"] == "/lines/0/sku: expected a text, found an integer"


def test_a_function_stays_callable_for_unit_tests() -> None:
    plugin = Plugin("p")

    @plugin.on("agent.x")
    async def no(payload: Json) -> None:
        raise Reject(str(payload))

    with pytest.raises(Reject, match="7"):
        asyncio.run(no(7))


def test_every_kind_of_content_has_a_view() -> None:
    """Proves LN28, views: polls, cards, forwards, reactions and actions read as what they are."""
    options = [{"text": "at six", "id": "6"}, {"text": "at seven"}]
    button = {"id": "ok", "label": "OK", "value": "1"}
    parts = [
        {"type": "poll", "poll": {"question": "When?", "options": options, "multiple": True}},
        {"type": "card", "card": {"title": "T", "actions": [button]}},
        {"type": "forward", "message_id": "m0", "conversation": {"id": "c0"}},
    ]
    reaction = {"target": "m1", "key": "+", "op": "remove"}
    message = OutboundMessage({"parts": parts, "reaction": reaction, "typing": True})
    poll, card, forward = message.parts
    assert (poll.poll.question, poll.poll.multiple) == ("When?", True)
    chosen = [(one.id, one.text) for one in poll.poll.options]
    assert chosen == [("6", "at six"), (None, "at seven")]
    assert [one.label for one in card.card.actions] == ["OK"]
    assert (forward.message_id, forward.conversation.id) == ("m0", "c0")
    assert message.reaction is not None and message.reaction.op == "remove"
    assert message.typing is True
    pressed = InboundMessage({"ui_action": {"id": "pick", "target": "m2", "value": ["a"]}})
    assert pressed.ui_action is not None
    assert (pressed.ui_action.target, pressed.ui_action.value) == ("m2", ["a"])
    assert InboundMessage({}).ui_action is None
