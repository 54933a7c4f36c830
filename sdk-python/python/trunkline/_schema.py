"""Types as JSON Schemas: what a function's signature says to those who call it.

What comes out of here is not yet the schema that is declared: the core gives that the form which it
has in every language.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from . import _core
from ._errors import InvalidPayload
from ._message import View
from ._payload import required_keys

Schema = dict[str, Any]


class Field:
    """Bounds a parameter or a member, inside of ``Annotated``.

    Args:
        description: What it means, for people and models.
        min: Least number.
        max: Largest number.
        above: Every number is larger.
        below: Every number is smaller.
        step: Every number is a multiple.
        min_length: Least number of characters, items or members.
        max_length: Most characters, items or members.
        pattern: Regular expression that is found in the text.
        format: What the text is, such as ``"email"`` or ``"date-time"``.

    Example:
        >>> from typing import Annotated
        >>> from trunkline import Field, Plugin
        >>> plugin = Plugin("shop")
        >>> Days = Annotated[int, Field("Days until it is due", min=1, max=90)]
        >>> @plugin.tool()
        ... async def remind(days: Days) -> None: ...
    """

    __slots__ = ("description", "_bounds")

    def __init__(
        self,
        description: str | None = None,
        *,
        min: float | None = None,
        max: float | None = None,
        above: float | None = None,
        below: float | None = None,
        step: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        pattern: str | None = None,
        format: str | None = None,
    ) -> None:
        self.description = description
        self._bounds: dict[str, Any] = {
            "min": min,
            "max": max,
            "above": above,
            "below": below,
            "step": step,
            "min_length": min_length,
            "max_length": max_length,
            "pattern": pattern,
            "format": format,
        }


_NUMBER = ("integer", "number")
_KEYWORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "min": {"minimum": _NUMBER},
    "max": {"maximum": _NUMBER},
    "above": {"exclusiveMinimum": _NUMBER},
    "below": {"exclusiveMaximum": _NUMBER},
    "step": {"multipleOf": _NUMBER},
    "min_length": {"minLength": ("string",), "minItems": ("array",), "minProperties": ("object",)},
    "max_length": {"maxLength": ("string",), "maxItems": ("array",), "maxProperties": ("object",)},
    "pattern": {"pattern": ("string",)},
    "format": {"format": ("string",)},
}


class NoSchema(Exception):
    """Says which type has no schema, and where it stands."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")


_SIMPLE: dict[Any, Schema] = {
    Any: {},
    object: {},
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    dict: {"type": "object"},
    Mapping: {"type": "object"},
    list: {"type": "array"},
    Sequence: {"type": "array"},
    tuple: {"type": "array"},
    None: {"type": "null"},
    type(None): {"type": "null"},
}
_HINTS = {
    "datetime": 'take a text, `Annotated[str, Field(format="date-time")]`',
    "date": 'take a text, `Annotated[str, Field(format="date")]`',
    "time": 'take a text, `Annotated[str, Field(format="time")]`',
    "UUID": 'take a text, `Annotated[str, Field(format="uuid")]`',
    "set": "take a list: JSON has no sets",
    "frozenset": "take a list: JSON has no sets",
    "Decimal": "take a text or a float",
    "bytes": "take a text in base64",
}


def is_model(kind: Any) -> bool:
    """Says whether a type is an object with members of its own."""
    kind = unannotated(kind)
    if not isinstance(kind, type):
        return False
    return is_typeddict(kind) or hasattr(kind, "__dataclass_fields__") or _library(kind) is not None


def unannotated(kind: Any) -> Any:
    """Gives the type that ``Annotated`` says something of."""
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind


def _library(kind: type[Any]) -> str | None:
    for name, base in (("pydantic", "BaseModel"), ("msgspec", "Struct")):
        module: Any = sys.modules.get(name)
        if module is not None and issubclass(kind, getattr(module, base)):
            return name
    return None


def own_doc(kind: type[Any]) -> str | None:
    """Gives the first paragraph that an author wrote about a class."""
    text = kind.__dict__.get("__doc__")
    # A dataclass without one gets its signature; older enums all have the same.
    if not isinstance(text, str) or text.startswith((f"{kind.__name__}(", "An enumeration.")):
        return None
    return first_paragraph(text)


def first_paragraph(text: str) -> str:
    """Gives the first paragraph on one line."""
    return " ".join(re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0].split())


class Schemas:
    """Makes schemas of the types of one side of a tool.

    Args:
        of_output: What is written has all its members, with a default or not.
    """

    def __init__(self, of_output: bool) -> None:
        self._of_output = of_output
        self.defs: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def of(self, kind: Any, where: str) -> Schema:
        """Makes the schema of a type that stands somewhere."""
        if isinstance(kind, Hashable) and kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        if isinstance(kind, str):
            raise NoSchema(
                where, f"the annotation {kind!r} cannot be read where the tool is registered"
            )
        if (named := getattr(kind, "__supertype__", None)) is not None:
            return self.of(named, where)
        found = self._class(cast(type[Any], kind), where) if isinstance(kind, type) else None
        if found is None:
            found = self._generic(kind, where)
        if found is not None:
            return found
        name = getattr(kind, "__name__", None) or repr(kind)
        hint = _HINTS.get(name, "take plain types, a dataclass, a TypedDict or a model")
        side = "output" if self._of_output else "input"
        raise NoSchema(
            where,
            f"expected a type that has a JSON Schema, found {_shown(kind)}; "
            f"hint: {hint}, or say the schema with `{side}=`",
        )

    def _class(self, kind: type[Any], where: str) -> Schema | None:
        if issubclass(kind, View):
            return {"type": "object"}
        if issubclass(kind, Enum):
            return _described(_words([member.value for member in kind], where), own_doc(kind))
        if not is_model(kind):
            return None
        name = self._names.get(kind)
        if name is None:
            name = _identifier(f"{kind.__module__}.{kind.__qualname__}.{len(self._names)}")
            # Before its members: they may name it.
            self._names[kind] = name
            library = _library(kind)
            if library is None:
                self.defs[name] = self._object(kind, where)
            else:
                self.defs[name] = getattr(self, f"_{library}")(kind, name, where)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, kind: Any, where: str) -> Schema:
        try:
            hints = get_type_hints(kind, include_extras=True)
        except NameError as error:
            raise NoSchema(
                where, f"the annotations of {_shown(kind)} cannot be read: {error}"
            ) from None
        properties: Schema = {}
        required: list[str] = []
        if is_typeddict(kind):
            needed = required_keys(kind, hints)
            for name, hint in hints.items():
                properties[name] = self.of(hint, f"{where}.{name}")
                if name in needed:
                    required.append(name)
        else:
            self._fields(kind, hints, where, properties, required)
        found: Schema = {"type": "object", "properties": properties, "required": required}
        return _described(found, own_doc(kind))

    def _fields(
        self, kind: Any, hints: Schema, where: str, properties: Schema, required: list[str]
    ) -> None:
        import dataclasses

        for field in dataclasses.fields(kind):
            if not field.init and not self._of_output:
                continue
            schema = self.of(hints[field.name], f"{where}.{field.name}")
            has_default = True
            if field.default is not dataclasses.MISSING:
                with_default(schema, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                with_default(schema, field.default_factory())
            else:
                has_default = False
            if self._of_output or not has_default:
                required.append(field.name)
            properties[field.name] = schema

    def _pydantic(self, kind: Any, name: str, where: str) -> Schema:
        mode = "serialization" if self._of_output else "validation"
        template = f"#/$defs/{name}.{{model}}"
        try:
            schema: Schema = kind.model_json_schema(
                ref_template=template, mode=mode, schema_generator=_pydantic_generator()
            )
        except Exception as error:
            raise NoSchema(where, f"the model {_shown(kind)} has no JSON Schema: {error}") from None
        for part, found in schema.pop("$defs", {}).items():
            self.defs[f"{name}.{part}"] = found
        return schema

    def _msgspec(self, kind: Any, name: str, where: str) -> Schema:
        module: Any = sys.modules["msgspec"]
        template = f"#/$defs/{name}.{{name}}"
        try:
            # Its schemas are of a part that is loaded when it is asked for.
            import importlib

            schemas = importlib.import_module(f"{module.__name__}.json").schema_components
            (schema,), parts = schemas([kind], ref_template=template)
        except TypeError as error:
            raise NoSchema(
                where, f"the struct {_shown(kind)} has no JSON Schema: {error}"
            ) from None
        for part, found in parts.items():
            self.defs[f"{name}.{part}"] = found
        return cast(Schema, schema)

    def _generic(self, kind: Any, where: str) -> Schema | None:
        origin, args = get_origin(kind), get_args(kind)
        if hasattr(kind, "__metadata__"):
            return self._annotated(kind, where)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each, where) for each in args]}
        if origin is Literal:
            words = [word.value if isinstance(word, Enum) else word for word in args]
            return _words(words, where)
        if origin in (list, Sequence):
            return {"type": "array", "items": self.of(args[0], f"{where}[]")}
        if origin is tuple:
            return self._tuple(args, where)
        if origin in (dict, Mapping):
            if args[0] is not str:
                raise NoSchema(where, f"expected a dict whose keys are str, found {_shown(kind)}")
            return {"type": "object", "additionalProperties": self.of(args[1], f"{where}{{}}")}
        if str(origin).endswith(("Required", "NotRequired", "ReadOnly")):
            return self.of(args[0], where)
        if isinstance(origin, type) and issubclass(origin, View):
            return {"type": "object"}
        return None

    def _tuple(self, args: tuple[Any, ...], where: str) -> Schema:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": self.of(args[0], f"{where}[]")}
        each = [self.of(arg, f"{where}[{index}]") for index, arg in enumerate(args)]
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}

    def _annotated(self, kind: Any, where: str) -> Schema:
        schema = self.of(get_args(kind)[0], where)
        for note in kind.__metadata__:
            if isinstance(note, str):
                schema["description"] = note
            elif isinstance(note, Field):
                _described(schema, note.description)
                _bound(schema, note, where)
        return schema


@cache
def _pydantic_generator() -> Any:
    import importlib

    base: Any = importlib.import_module("pydantic.json_schema").GenerateJsonSchema

    def field_is_required(self: Any, field: Any, total: bool) -> bool:
        # What is written has what has a default, too.
        return self.mode == "serialization" or bool(base.field_is_required(self, field, total))

    return type("Generator", (base,), {"field_is_required": field_is_required})


def with_default(schema: Schema, default: Any) -> None:
    """Says what is meant where nothing is given; nothing, where that has no JSON form."""
    try:
        schema["default"] = _core.loads(_core.dumps(default))
    except InvalidPayload:
        return


def _bound(schema: Schema, field: Field, where: str) -> None:
    for bound, value in field._bounds.items():
        if value is None:
            continue
        keywords = _KEYWORDS[bound]
        alternatives: list[Schema] = schema.get("anyOf", [schema])
        fit = [
            (each, keyword)
            for each in alternatives
            for keyword, kinds in keywords.items()
            if each.get("type") in kinds
        ]
        if not fit:
            wanted = " or ".join(
                dict.fromkeys(kind for kinds in keywords.values() for kind in kinds)
            )
            found = schema.get("type", "something else")
            raise NoSchema(
                where, f"expected a type of {wanted} for Field({bound}=…), found {found}"
            )
        for each, keyword in fit:
            each[keyword] = value


def _words(words: list[Any], where: str) -> Schema:
    for word in words:
        if not isinstance(word, (str, int, float, type(None))):
            raise NoSchema(where, f"expected words that are text, numbers or None, found {word!r}")
    return {"enum": words}


def _described(schema: Schema, text: str | None) -> Schema:
    if text:
        schema["description"] = text
    return schema


def _identifier(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)


def _shown(kind: Any) -> str:
    if isinstance(kind, type) and not get_args(kind):
        named = cast(type[Any], kind)
        module = named.__module__
        return named.__qualname__ if module == "builtins" else f"{module}.{named.__qualname__}"
    return str(kind)
