"""Payloads: the form in which a handler's first annotation wants them, and back to plain JSON.

A payload that does not fit is a :class:`Reject` with the code ``invalid_payload`` and a JSON pointer
to what does not fit.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from . import _core
from ._event import Event, event_of
from ._message import View
from ._outcome import Reject
from ._part import Part
from ._timer import TimerEvent
from ._webhook import WebhookRequest

Json = Any
"""Any JSON value, as ``json.loads`` gives it."""

Read = Callable[[Any, str], Any]
"""Reads a value that stands at a JSON pointer."""


class Misfit(Exception):
    """Says what does not fit, and where."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(reason)
        self.pointer = pointer
        self.reason = reason


def _name(value: Any) -> str:
    names: dict[type, str] = {
        type(None): "null",
        dict: "an object",
        list: "an array",
        str: "a text",
        bool: "a truth value",
        int: "an integer",
        float: "a number",
    }
    kind = cast("type[Any]", type(value))
    return names.get(kind, kind.__name__)


def plain(value: Any) -> Any:
    """Gives the plain JSON form of a typed value; itself, when there is none. For the extension."""
    if isinstance(value, View):
        return value.json
    if isinstance(value, type):
        return value
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in _fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(cast(Mapping[Any, Any], value))
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        # As it is read, and as its schema says.
        return value.model_dump(mode="json", by_alias=True)
    msgspec: Any = sys.modules.get("msgspec")
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return value


def _exact(kind: type, wanted: str) -> Read:
    def read(value: Any, at: str) -> Any:
        if type(value) is not kind:
            raise Misfit(at, f"expected {wanted}, found {_name(value)}")
        return value

    return read


def _number(value: Any, at: str) -> float:
    if type(value) not in (int, float):
        raise Misfit(at, f"expected a number, found {_name(value)}")
    return float(value)


_SIMPLE: dict[Any, Read] = {
    Any: lambda value, _: value,
    object: lambda value, _: value,
    str: _exact(str, "a text"),
    int: _exact(int, "an integer"),
    bool: _exact(bool, "a truth value"),
    float: _number,
    dict: _exact(dict, "an object"),
    list: _exact(list, "an array"),
    tuple: lambda value, at: tuple(_exact(list, "an array")(value, at)),
    None: _exact(type(None), "null"),
    type(None): _exact(type(None), "null"),
}


def _step(at: str, key: object) -> str:
    return f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}"


def reader(kind: Any) -> Read:
    """Makes the function that reads a value of a type; refuses types that have none."""
    if isinstance(kind, TypeVar):
        return _SIMPLE[Any]
    if hasattr(kind, "__supertype__"):
        return reader(kind.__supertype__)
    simple = _SIMPLE.get(kind) if isinstance(kind, Hashable) else None
    if simple is not None:
        return simple
    if isinstance(kind, type):
        found = _class(cast(type[Any], kind))
        if found is not None:
            return found
    found = _generic(kind)
    if found is None:
        raise TypeError(f"expected a type that a payload can be read as, found {kind!r}")
    return found


def _class(kind: type[Any]) -> Read | None:
    if issubclass(kind, (View, WebhookRequest, TimerEvent)):
        return _view(kind)
    if issubclass(kind, Part):
        return _part(kind)
    if is_typeddict(kind):
        return _typed_dict(kind)
    if hasattr(kind, "__dataclass_fields__"):
        return _dataclass(kind)
    if issubclass(kind, Enum):
        return _enum(kind)
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        return _pydantic(kind, pydantic)
    msgspec: Any = sys.modules.get("msgspec")
    if msgspec is not None and issubclass(kind, msgspec.Struct):
        return _msgspec(kind, msgspec)
    return None


def _view(kind: type[View] | type[WebhookRequest] | type[TimerEvent]) -> Read:
    def read(value: Any, at: str) -> View | WebhookRequest | TimerEvent:
        if type(value) is not dict:
            raise Misfit(at, f"expected an object, found {_name(value)}")
        return kind(cast(dict[str, Any], value))

    return read


def _part(kind: type[Part]) -> Read:
    def read(value: Any, at: str) -> Part:
        if type(value) is not dict:
            raise Misfit(at, f"expected an object, found {_name(value)}")
        return kind.of(cast(dict[str, Any], value))

    return read


def _enum(kind: type[Enum]) -> Read:
    def read(value: Any, at: str) -> Enum:
        try:
            return kind(value)
        except ValueError:
            words = ", ".join(repr(member.value) for member in kind)
            raise Misfit(at, f"expected one of {words}, found {value!r}") from None

    return read


def _object(kind: type, required: Callable[[str], bool]) -> Callable[[Any, str], dict[str, Any]]:
    # Types may name themselves, so their members are looked up when the first value is read.
    members: dict[str, Read] = {}

    def read(value: Any, at: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise Misfit(at, f"expected an object, found {_name(value)}")
        if not members:
            members.update({name: reader(hint) for name, hint in get_type_hints(kind).items()})
        found: dict[str, Any] = {}
        for name, member in members.items():
            if name in value:
                found[name] = member(value[name], _step(at, name))
            elif required(name):
                raise Misfit(at, f"{name!r} is missing")
        return found

    return read


def _fields(kind: Any) -> dict[str, Any]:
    # Who has no dataclass need not wait for the module.
    import dataclasses

    return {field.name: field for field in dataclasses.fields(kind)}


def _dataclass(kind: type) -> Read:
    fields = _fields(kind)

    def required(name: str) -> bool:
        field = fields.get(name)
        # Both are the same mark when there is neither.
        return field is not None and field.default is field.default_factory

    members = _object(kind, required)
    settable = {name for name, field in fields.items() if field.init}

    def read(value: Any, at: str) -> Any:
        found = members(value, at)
        return kind(**{name: member for name, member in found.items() if name in settable})

    return read


def required_keys(kind: Any, hints: Mapping[str, Any]) -> frozenset[str]:
    """Gives the keys that a TypedDict has to have."""
    needed: set[str] = set(kind.__required_keys__)
    # Of annotations that are texts the class itself does not know it.
    for name, hint in hints.items():
        origin = str(get_origin(hint))
        if origin.endswith("NotRequired"):
            needed.discard(name)
        elif origin.endswith("Required"):
            needed.add(name)
    return frozenset(needed)


def _typed_dict(kind: type) -> Read:
    needed: frozenset[str] | None = None

    def required(name: str) -> bool:
        nonlocal needed
        if needed is None:
            needed = required_keys(kind, get_type_hints(kind, include_extras=True))
        return name in needed

    members = _object(kind, required)

    def read(value: Any, at: str) -> Any:
        # Members that the type does not know are kept.
        found = members(value, at)
        return {**value, **found}

    return read


def _pydantic(kind: Any, pydantic: Any) -> Read:
    def read(value: Any, at: str) -> Any:
        try:
            return kind.model_validate(value)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            for key in first["loc"]:
                at = _step(at, key)
            raise Misfit(at, str(first["msg"])) from None

    return read


def _msgspec(kind: Any, msgspec: Any) -> Read:
    def read(value: Any, at: str) -> Any:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            for key in path.rstrip("`").replace("[", ".").replace("]", "").split(".")[1:]:
                at = _step(at, key)
            raise Misfit(at, reason) from None

    return read


def _generic(kind: Any) -> Read | None:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin is Literal:
        return _literal(args)
    if origin in (list, Sequence):
        return _list(reader(args[0]))
    if origin is tuple:
        return _tuple(args)
    if origin in (dict, Mapping) and args[0] is str:
        return _dict(reader(args[1]))
    if hasattr(kind, "__metadata__"):
        return reader(args[0])
    name = str(origin)
    if name.endswith(("Required", "NotRequired", "ReadOnly")):
        return reader(args[0])
    if isinstance(origin, type) and issubclass(origin, (View,)):
        return reader(origin)
    return None


def _union(kinds: tuple[Any, ...]) -> Read:
    reads = [reader(kind) for kind in kinds]

    def read(value: Any, at: str) -> Any:
        first: Misfit | None = None
        for each in reads:
            try:
                return each(value, at)
            except Misfit as misfit:
                # The misfit that lies deepest belongs to the alternative that was meant.
                if first is None or len(misfit.pointer) > len(first.pointer):
                    first = misfit
        raise first if first is not None else Misfit(at, "expected nothing")

    return read


def _literal(words: tuple[Any, ...]) -> Read:
    def read(value: Any, at: str) -> Any:
        for word in words:
            if type(word) is type(value) and word == value:
                return word
        wanted = ", ".join(repr(word) for word in words)
        raise Misfit(at, f"expected one of {wanted}, found {value!r}")

    return read


def _list(item: Read) -> Read:
    def read(value: Any, at: str) -> list[Any]:
        if type(value) is not list:
            raise Misfit(at, f"expected an array, found {_name(value)}")
        return [item(each, f"{at}/{index}") for index, each in enumerate(cast(list[Any], value))]

    return read


def _tuple(kinds: tuple[Any, ...]) -> Read:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        items = _list(reader(kinds[0]))
        return lambda value, at: tuple(items(value, at))
    reads = [reader(kind) for kind in kinds]

    def read(value: Any, at: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise Misfit(at, f"expected an array, found {_name(value)}")
        found = cast(list[Any], value)
        if len(found) != len(reads):
            raise Misfit(at, f"expected {len(reads)} items, found {len(found)}")
        return tuple(
            item(each, f"{at}/{index}")
            for index, (item, each) in enumerate(zip(reads, found, strict=True))
        )

    return read


def _dict(item: Read) -> Read:
    def read(value: Any, at: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise Misfit(at, f"expected an object, found {_name(value)}")
        return {
            key: item(each, _step(at, key)) for key, each in cast(dict[str, Any], value).items()
        }

    return read


Form = Callable[[_core.Incoming], Any]
"""Gives what a handler's first parameter wants of an event."""


def fit(read: Read, value: Any) -> Any:
    """Reads a payload; a misfit is the end of its event."""
    try:
        return read(value, "")
    except Misfit as misfit:
        text = f"{misfit.pointer or 'the payload'}: {misfit.reason}"
        raise Reject(text, code="invalid_payload") from None


def form_of(kind: Any) -> Form | None:
    """Makes the form for an annotation; none for plain JSON, which needs nothing."""
    if kind is Any or kind is object:
        return None
    if kind is bytes:
        return lambda incoming: incoming.raw
    if kind is Event or get_origin(kind) is Event:
        args = get_args(kind)
        read = reader(args[0]) if args else _SIMPLE[Any]
        return lambda incoming: event_of(
            incoming.envelope(), incoming, lambda payload: fit(read, payload)
        )
    read = reader(kind)
    return lambda incoming: fit(read, incoming.payload())
