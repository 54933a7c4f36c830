"""A function's signature as a tool: what it is called with, and what it gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from . import _core
from ._errors import InvalidArguments
from ._event import Event
from ._handler import name_of
from ._outcome import Batch, Outcome, Receipt, Reply
from ._payload import Form, Read, fit, reader
from ._schema import NoSchema, Schema, Schemas, is_model, unannotated, with_default

_STREAMS = (AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator)
_REFUSED = (Reply, Event, Batch, Receipt)
_EMPTY = inspect.Parameter.empty
_CONTEXT = re.compile(r"\b(Sync)?Context\b")


class Typed:
    """What the types of a tool's function say.

    Args:
        tool: The tool's name.
        function: What the author wrote.
        scope: Names that its annotations may use beside its module's.
    """

    def __init__(self, tool: str, function: Callable[..., Any], scope: dict[str, Any]) -> None:
        self._tool = tool
        self._function = function
        self._hints = _hints(function, scope)
        self.description = ""
        self._context: str | None = None
        self._whole: str | None = None
        self._reads: dict[str, Read] = {}

    def input(self) -> Any:
        """Makes the schema of the arguments, and learns to read them."""
        schemas = Schemas(of_output=False)
        parameters = self._parameters()
        if len(parameters) == 1 and parameters[0].default is _EMPTY:
            only = parameters[0]
            kind = self._kind(only)
            if is_model(kind):
                self._whole = only.name
                self._read(only.name, unannotated(kind))
                return self._declared(schemas, self._schema(schemas, unannotated(kind), only.name))
            if unannotated(kind) in (Any, object):
                raise self._refused(
                    f"{self._at(only.name)}: expected a type that says what the arguments are, found "
                    "any JSON; hint: one parameter for each argument, or a dataclass, TypedDict or "
                    'model; or say the JSON Schema with `input=`, {"type": "object"} for any object'
                )
        properties: Schema = {}
        required: list[str] = []
        for parameter in parameters:
            kind = self._kind(parameter)
            schema = self._schema(schemas, kind, parameter.name)
            if parameter.default is _EMPTY:
                required.append(parameter.name)
            else:
                with_default(schema, parameter.default)
            properties[parameter.name] = schema
            self._read(parameter.name, kind)
        whole: Schema = {"type": "object", "properties": properties, "required": required}
        return self._declared(schemas, whole)

    def output(self, streams: bool, is_needed: bool) -> Any:
        """Makes the schema of the result, of a chunk if it streams; none where nothing is said."""
        kind = self._hints.get("return", _EMPTY)
        if isinstance(kind, str) and not is_needed:
            return None
        if streams and get_origin(kind) in _STREAMS:
            kind = get_args(kind)[0]
        elif streams:
            return None
        kind = _results(kind)
        if kind is _EMPTY or kind is Any or kind is object:
            return None
        if isinstance(kind, type) and issubclass(kind, _REFUSED):
            raise self._refused(
                f"the result: expected a type of JSON, found {kind.__name__}; "
                "hint: what a tool returns is the answer of the call"
            )
        schemas = Schemas(of_output=True)
        try:
            schema = schemas.of(kind, "the result")
        except NoSchema as refused:
            raise self._refused(str(refused)) from None
        return self._declared(schemas, schema)

    def call(self) -> Callable[[Any, Any], Any]:
        """Gives the function that takes the arguments that were read, and the context."""
        function, context = self._function, self._context

        def call(arguments: dict[str, Any], ctx: Any) -> Any:
            if context is None:
                return function(**arguments)
            return function(**arguments, **{context: ctx})

        call.__qualname__ = name_of(function)
        return call

    def form(self) -> Form:
        """Gives what reads the arguments of a call."""
        reads, whole = self._reads, self._whole
        if whole is not None:
            read = reads[whole]
            return lambda incoming: {whole: fit(read, incoming.payload())}

        def arguments(value: Any, at: str) -> dict[str, Any]:
            return {
                name: read(value[name], f"{at}/{name}")
                for name, read in reads.items()
                if name in value
            }

        return lambda incoming: fit(arguments, incoming.payload())

    def _parameters(self) -> list[inspect.Parameter]:
        found: list[inspect.Parameter] = []
        for parameter in inspect.signature(self._function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self._refused(
                    f"{self._at(parameter.name)}: expected parameters with names, found "
                    f"{parameter}; hint: name each argument, or say the schema with `input=`"
                )
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise self._refused(
                    f"{self._at(parameter.name)}: expected a parameter that is given by name, found "
                    "a positional one; hint: leave `/` out"
                )
            if _is_context(self._hints.get(parameter.name, parameter.annotation)):
                self._context = parameter.name
            else:
                found.append(parameter)
        return found

    def _kind(self, parameter: inspect.Parameter) -> Any:
        kind = self._hints.get(parameter.name, _EMPTY)
        if kind is _EMPTY:
            hint = "`ctx: Context`" if parameter.name == "ctx" else "its type, such as `str`"
            raise self._refused(
                f"{self._at(parameter.name)}: expected an annotation, found none; hint: write {hint}"
            )
        return kind

    def _schema(self, schemas: Schemas, kind: Any, name: str) -> Schema:
        try:
            return schemas.of(kind, self._at(name))
        except NoSchema as refused:
            raise self._refused(str(refused)) from None

    def _read(self, name: str, kind: Any) -> None:
        try:
            self._reads[name] = reader(kind)
        except TypeError as error:
            raise self._refused(f"{self._at(name)}: {error}") from None

    def _at(self, name: str) -> str:
        return f"parameter {name!r}"

    def _refused(self, text: str) -> InvalidArguments:
        return InvalidArguments(f"tool {self._tool!r} ({name_of(self._function)}): {text}")

    def _declared(self, schemas: Schemas, schema: Schema) -> Any:
        """Lets the core give a schema the form that it has in every language."""
        of_output = schemas._of_output
        whole = {**schema, "$defs": schemas.defs}
        text = bytes(_core.dumps(whole)).decode()
        found = _core.loads(_core.tool_schema(self._tool, of_output, text).encode())
        if not of_output:
            self.description = found["description"]
        return found["schema"]


def _hints(function: Callable[..., Any], scope: dict[str, Any]) -> dict[str, Any]:
    target: Any = inspect.unwrap(function)
    target = getattr(target, "func", target)
    if not inspect.isroutine(target):
        target = getattr(target, "__call__", target)  # noqa: B004
    try:
        return get_type_hints(target, localns=scope, include_extras=True)
    except NameError:
        pass
    # Some may be of a module that only type checkers import.
    names = {**getattr(target, "__globals__", {}), **scope}
    found: dict[str, Any] = {}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        found[name] = annotation
        if isinstance(annotation, str):
            try:
                found[name] = eval(annotation, names)
            except NameError:
                continue
    return found


def _is_context(kind: Any) -> bool:
    from ._context import Context, InstanceContext
    from ._sync import SyncContext, SyncInstanceContext

    if isinstance(kind, str):
        return _CONTEXT.search(kind) is not None
    kind = get_origin(kind) or kind
    contexts = (Context, InstanceContext, SyncContext, SyncInstanceContext)
    return isinstance(kind, type) and issubclass(kind, contexts)


def _results(kind: Any) -> Any:
    """Leaves out what a tool may return without that being its result."""
    if get_origin(kind) in (Union, UnionType):
        left = [each for each in get_args(kind) if not _is_outcome(each)]
        return Union[tuple(left)] if left else _EMPTY  # noqa: UP007
    return _EMPTY if _is_outcome(kind) else kind


def _is_outcome(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Outcome)
