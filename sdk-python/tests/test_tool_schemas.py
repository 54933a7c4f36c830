"""Tools of types: the schemas that signatures give, and the arguments that arrive converted."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypedDict, TypeVar, Union

import msgspec
import pydantic
import pytest
from trunkline import (
    Client,
    Context,
    Event,
    Field,
    InvalidArguments,
    Json,
    Plugin,
    Reply,
    Retry,
    SyncContext,
    ToolFailed,
)
from trunkline.testing import StartBroker
from typing_extensions import NotRequired

ROOT = Path(os.environ.get("TRUNKLINE_ROOT", Path(__file__).resolve().parents[2]))
VECTORS = json.loads((ROOT / "contract" / "vectors" / "tool_schemas.json").read_text())

# The tools of the vectors, of plain types.

typed = Plugin("vectors")


class Currency(Enum):
    EUR = "eur"
    USD = "usd"


@dataclass
class Invoice:
    id: str
    status: Annotated[str, "What became of it."]
    total: float
    paid_at: str | None = None


@typed.tool()
async def create_invoice(
    customer: Annotated[str, Field("Customer id, cus_…", pattern="^cus_")],
    days_until_due: Annotated[int, Field(min=1, max=90)],
    currency: Currency = Currency.EUR,
    memo: Annotated[Optional[str], "Stands on the invoice."] = None,  # noqa: UP045
    *,
    tags: Annotated[list[str], Field(max_length=3)],
    ctx: Context,
) -> Invoice | Retry:
    """Draft an invoice
    for a customer.

    This is not part of it.
    """
    assert ctx.caller and isinstance(currency, Currency) and memo is None and tags == []
    if days_until_due == 90:
        return Retry("3s", "too long")
    return Invoice(f"in_{customer}", currency.value, days_until_due)


@dataclass
class Place:
    """A place on the map."""

    name: str
    at: tuple[float, float]


class Search(TypedDict):
    near: Place
    but: NotRequired[Annotated[Place | None, "Where not to look."]]
    weights: dict[str, float]
    any: Json


@typed.tool()
def search(search: Search, ctx: SyncContext) -> list[Place]:
    """Find places."""
    assert ctx.caller and isinstance(search["near"].at, tuple)
    return [search["near"]]


@dataclass
class Tree:
    name: str
    children: list[Tree]


@dataclass
class Count:
    """Count a tree."""

    tree: Tree


def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree.children))


@typed.tool()
async def count(count: Count) -> int:
    return size(count.tree)


@dataclass
class Mail:
    kind: Literal["mail"]
    address: str


@dataclass
class Sms:
    kind: Literal["sms"]
    number: str


@typed.tool()
async def notify(to: Union[Mail, Sms], text: str) -> None:  # noqa: UP007
    """Tell somebody."""
    assert isinstance(to, Sms if text == "sms" else Mail)


@typed.tool()
async def ping() -> str:
    """Say that it is there."""
    return "pong"


# The same, of pydantic's models.

models = Plugin("vectors")


class NewInvoiceModel(pydantic.BaseModel):
    """Draft an invoice for a customer."""

    customer: str = pydantic.Field(description="Customer id, cus_…", pattern="^cus_")
    days_until_due: int = pydantic.Field(ge=1, le=90)
    currency: Currency = Currency.EUR
    memo: str | None = pydantic.Field(None, description="Stands on the invoice.")
    tags: list[str] = pydantic.Field(max_length=3)


class InvoiceModel(pydantic.BaseModel):
    id: str
    status: str = pydantic.Field(description="What became of it.")
    total: float
    paid_at: str | None = None


@models.tool("create_invoice")
async def create_by_model(new: NewInvoiceModel) -> InvoiceModel:
    assert isinstance(new.currency, Currency)
    return InvoiceModel(id=f"in_{new.customer}", status="eur", total=new.days_until_due)


class PlaceModel(pydantic.BaseModel):
    """A place on the map."""

    name: str
    at: tuple[float, float]


class SearchModel(pydantic.BaseModel):
    near: PlaceModel
    but: PlaceModel | None = pydantic.Field(None, description="Where not to look.")
    weights: dict[str, float]
    any: Any


@models.tool("search")
async def search_by_model(search: SearchModel) -> list[PlaceModel]:
    """Find places."""
    return [search.near]


class TreeModel(pydantic.BaseModel):
    name: str
    children: list[TreeModel]


class CountModel(pydantic.BaseModel):
    tree: TreeModel


def declared(plugin: Plugin) -> dict[str, Any]:
    return {
        spec["name"]: {key: spec.get(key) for key in ("description", "input", "output")}
        for _, spec in plugin._tools
    }


@models.tool("count")
async def count_by_model(count: CountModel) -> int:
    """Count a tree."""
    assert isinstance(count.tree.children[0], TreeModel)
    return 2


@pytest.mark.parametrize("plugin", [typed, models], ids=["types", "models"])
def test_types_give_the_schemas_of_the_vectors(plugin: Plugin) -> None:
    """Proves P3a and LN53 (inference), Python part: types are the schema, the same in every language."""
    found = declared(plugin)
    assert found.keys() == (
        VECTORS.keys() if plugin is typed else {"create_invoice", "search", "count"}
    )
    for name, schemas in found.items():
        # As texts: the order is part of what a model sees.
        assert json.dumps(schemas) == json.dumps(VECTORS[name])


@pytest.mark.parametrize("plugin", [typed, models], ids=["types", "models"])
async def test_arguments_arrive_converted_and_results_are_dumped(
    plugin: Plugin, test_broker: StartBroker
) -> None:
    broker = await test_broker(plugin)
    new: dict[str, Any] = {"customer": "cus_9", "days_until_due": 14, "tags": []}
    invoice = await broker.call_tool("vectors.create_invoice", new)
    assert invoice == {"id": "in_cus_9", "status": "eur", "total": 14, "paid_at": None}
    near = {"name": "a", "at": [1.5, 2]}
    search: dict[str, Any] = {"near": near, "weights": {"w": 1}, "any": [1]}
    assert await broker.call_tool("vectors.search", search) == [near]
    tree = {"name": "a", "children": [{"name": "b", "children": []}]}
    assert await broker.call_tool("vectors.count", {"tree": tree}) == 2
    for misfit in ({"customer": "x"}, {"days_until_due": 91}, {"tags": [1]}, {"currency": "gbp"}):
        with pytest.raises(InvalidArguments):
            await broker.call_tool("vectors.create_invoice", {**new, **misfit})
    with pytest.raises(InvalidArguments):
        await broker.call_tool("vectors.create_invoice", {"customer": "cus_9"})


async def test_a_union_is_read_as_the_alternative_that_fits(test_broker: StartBroker) -> None:
    broker = await test_broker(typed)
    for kind, name in (("mail", "address"), ("sms", "number")):
        to = {"kind": kind, name: "x"}
        assert await broker.call_tool("vectors.notify", {"to": to, "text": kind}) is None
    with pytest.raises(InvalidArguments):
        await broker.call_tool("vectors.notify", {"to": {"kind": "sms"}, "text": "sms"})
    assert await broker.call_tool("vectors.ping") == "pong"
    with pytest.raises(ToolFailed) as error:
        new = {"customer": "cus_9", "days_until_due": 90, "tags": []}
        await broker.call_tool("vectors.create_invoice", new)
    assert error.value.retryable


async def test_generators_of_both_kinds_take_their_arguments_by_name(
    test_broker: StartBroker,
) -> None:
    plugin = Plugin("p")

    @plugin.tool()
    async def words(text: str, ctx: Context) -> AsyncIterator[str]:
        ctx.progress(1, 2)
        for word in text.split():
            yield word

    @plugin.tool()
    def numbers(*, to: int, first: int = 1) -> Iterator[int]:
        yield from range(first, to)

    assert declared(plugin)["words"]["output"] == {"type": "string"}
    assert declared(plugin)["numbers"]["output"] == {"type": "integer"}
    broker = await test_broker(plugin)
    assert await broker.call_tool("p.words", {"text": "one two"}) == "onetwo"
    assert await broker.call_tool("p.numbers", {"to": 3}) == [1, 2]
    assert await broker.call_tool("p.numbers", {"to": 3, "first": 2, "unknown": 1}) == [2]


async def test_an_output_that_does_not_fit_is_flagged(test_broker: StartBroker) -> None:
    """Proves P3a: an output that does not fit its type is flagged, and reaches no caller."""
    plugin = Plugin("p")

    @plugin.tool()
    async def wrong() -> int:
        return "one"  # type: ignore[return-value]

    broker = await test_broker(plugin)
    with pytest.raises(ToolFailed, match="output"):
        await broker.call_tool("p.wrong")


Count_ = NewType("Count_", int)


class Level(Enum):
    """How much."""

    LOW = 1
    HIGH = "high"


@dataclass
class Options:
    names: list[str] = field(default_factory=list)
    made: int = field(default=1, init=False)


class Struct(msgspec.Struct):
    name: str
    at: list[int] = []


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (bool, {"type": "boolean"}),
        (Count_, {"type": "integer"}),
        (list, {"type": "array"}),
        (dict[str, Any], {"type": "object"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (Literal["a"], {"type": "string", "const": "a"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Level, {"description": "How much.", "enum": [1, "high"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (
            Annotated[int | None, Field("Few.", above=0, below=9, step=2)],
            {
                "description": "Few.",
                "anyOf": [
                    {
                        "type": "integer",
                        "exclusiveMinimum": 0,
                        "exclusiveMaximum": 9,
                        "multipleOf": 2,
                    },
                    {"type": "null"},
                ],
            },
        ),
        (
            Annotated[str, Field(min_length=1, max_length=2, format="email")],
            {"type": "string", "minLength": 1, "maxLength": 2, "format": "email"},
        ),
        (
            Options,
            {
                "type": "object",
                "properties": {
                    "names": {
                        "type": "array",
                        "items": {"type": "string"},
                        "default": [],
                    }
                },
            },
        ),
        (
            Struct,
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "at": {"type": "array", "items": {"type": "integer"}, "default": []},
                },
                "required": ["name"],
            },
        ),
    ],
    ids=str,
)
def test_a_type_is_a_schema(kind: Any, schema: dict[str, Any]) -> None:
    async def tool(it: Any, other: int = 0) -> None: ...

    tool.__annotations__["it"] = kind
    plugin = Plugin("p")
    plugin.tool()(tool)
    assert declared(plugin)["tool"]["input"]["properties"]["it"] == schema


T = TypeVar("T")


class Box(Generic[T]):
    pass


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (datetime.datetime, r"parameter 'it'.*found datetime.datetime; hint: .*date-time"),
        (bytes, r"found bytes; hint: take a text in base64"),
        (Box[int], r"expected a type that has a JSON Schema, found .*Box\[int\].*`input=`"),
        (set[str], r"found set\[str\]; hint: take a list"),
        (list[complex], r"parameter 'it'\[\]: .*found complex"),
        (dict[int, str], r"expected a dict whose keys are str"),
        (Annotated[str, Field(min=1)], r"expected a type of integer or number for Field\(min=…\)"),
        ("Missing", r"the annotation 'Missing' cannot be read"),
        (Event, r"parameter 'it'"),
    ],
    ids=str,
)
def test_what_has_no_schema_is_refused_at_registration(kind: Any, text: str) -> None:
    async def takes(it: Any, other: int = 0) -> None: ...

    async def gives() -> Any: ...

    takes.__annotations__["it"] = kind
    with pytest.raises(InvalidArguments, match=text) as error:
        Plugin("p").tool()(takes)
    assert "tool 'takes'" in str(error.value)
    if not isinstance(kind, str):
        gives.__annotations__["return"] = kind
        with pytest.raises(InvalidArguments, match="the result"):
            Plugin("p").tool()(gives)


def test_a_signature_that_says_too_little_is_refused() -> None:
    async def bare(it) -> None: ...  # type: ignore[no-untyped-def]
    async def context(ctx) -> None: ...  # type: ignore[no-untyped-def]
    async def anything(arguments: Json) -> None: ...
    async def rest(**arguments: str) -> None: ...
    async def positional(it: str, /) -> None: ...
    async def replies() -> Reply: ...

    for function, text in (
        (bare, "parameter 'it': expected an annotation, found none"),
        (context, "hint: write `ctx: Context`"),
        (anything, "parameter 'arguments': expected a type that says what the arguments are"),
        (rest, r"parameter 'arguments': expected parameters with names, found \*\*arguments"),
        (positional, "hint: leave `/` out"),
        (replies, "the result: expected a type of JSON, found Reply"),
    ):
        with pytest.raises(InvalidArguments, match=text):
            Plugin("p").tool()(function)


def test_a_registration_gives_the_function_back() -> None:
    async def plain(it: str) -> str:
        return it

    assert Plugin("p").tool()(plain) is plain


async def test_names_that_are_local_or_of_type_checkers_are_read(test_broker: StartBroker) -> None:
    plugin = Plugin("p")

    @dataclass
    class Local:
        n: int

    @plugin.tool()
    async def local(it: Local, ctx: Context[Any]) -> int:
        return it.n

    def later(it: int, ctx: Any) -> int:
        return it

    later.__annotations__["ctx"] = "SyncContext[OnlyForCheckers]"
    plugin.tool("later")(later)
    broker = await test_broker(plugin)
    assert await broker.call_tool("p.local", {"n": 3}) == 3
    assert await broker.call_tool("p.later", {"it": 4}) == 4


async def test_a_model_is_dumped_by_its_aliases(test_broker: StartBroker) -> None:
    class Named(pydantic.BaseModel):
        since: int = pydantic.Field(alias="from")

    plugin = Plugin("p")

    async def back(it: Named) -> Named:
        return it

    plugin.tool(name="back")(back)
    broker = await test_broker(plugin)
    assert await broker.call_tool("p.back", {"from": 1}) == {"from": 1}


async def test_a_typed_tool_is_offered_at_run_time(test_broker: StartBroker) -> None:
    plugin = Plugin("p")
    contexts: list[Any] = []

    @plugin.on_start
    async def start(ctx: Any) -> None:
        contexts.append(ctx)

    async def late(n: int = 2) -> int:
        return n + 1

    broker = await test_broker(plugin)
    await contexts[0].register_tool(late)
    assert await broker.call_tool("p.late") == 3
    agent = await broker.attach(Client("agent"))
    (tool,) = (await agent.request("tool.list", {}))["tools"]
    assert tool["input_schema"]["properties"] == {"n": {"type": "integer", "default": 2}}
