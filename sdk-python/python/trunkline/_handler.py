"""A function of the author: what it takes, and where it runs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

from ._errors import InvalidArguments
from ._outcome import outcome_of
from ._payload import Form, form_of

Mapper = Callable[[BaseException], Any]


def is_async(function: Callable[..., Any]) -> bool:
    """Says whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def name_of(function: Callable[..., Any]) -> str:
    """Names a function for messages."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def locals_of(depth: int) -> dict[str, Any]:
    """Gives the names that an annotation may use where a decorator is applied."""
    return dict(sys._getframe(depth + 1).f_locals)


class Handler:
    """One registered function.

    Args:
        function: What the author wrote.
        scope: Names that its annotations may use beside its module's.
        mappers: Outcomes of exceptions.
        returned: Gives the form in which the core takes what it returns.
        streams: It may be a generator.
        default: How the payload is read where no annotation says it.
    """

    __slots__ = (
        "function",
        "name",
        "is_sync",
        "takes",
        "form",
        "mappers",
        "waits",
        "returned",
        "default",
        "_written",
        "_scope",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        scope: dict[str, Any],
        mappers: dict[type, Mapper],
        returned: Callable[[Any], Any] = outcome_of,
        streams: bool = False,
        default: Any = Any,
    ) -> None:
        self.function = self._written = function
        self.name = name_of(function)
        self.mappers = mappers
        self.returned = returned
        self.default = default
        is_generator = inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
        if is_generator and not streams:
            raise InvalidArguments(
                f"expected {self.name} to be a plain or async function, found a generator"
            )
        self.is_sync = not is_async(function)
        self.takes = _takes(function, self.name, 2)
        self.form: Form | None = None
        self.waits = False
        self._scope = scope

    def resolve(self) -> None:
        """Reads the annotation of the payload; names may be defined after the function."""
        self.form = form_of(_first(self._written, self._scope, self.name, self.default))

    def map_error(self, error: BaseException) -> BaseException | Any:
        """Gives the outcome that the author declared for an exception, else the exception."""
        for kind in type(error).__mro__:
            mapper = self.mappers.get(kind)
            if mapper is not None:
                try:
                    return mapper(error)
                except Exception as raised:
                    return raised
        return error


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def _takes(function: Callable[..., Any], name: str, most: int) -> int:
    signature = inspect.signature(function)
    if any(each.kind is each.VAR_POSITIONAL for each in signature.parameters.values()):
        return most
    found = _parameters(function)
    needed = [each for each in found if each.default is each.empty]
    if len(needed) > most:
        raise InvalidArguments(f"expected {name} to take (payload, ctx), found {signature}")
    return min(len(found), most)


def takes(function: Callable[..., Any], most: int) -> int:
    """Counts the arguments that a hook takes."""
    return _takes(function, name_of(function), most)


def _first(function: Callable[..., Any], scope: dict[str, Any], name: str, default: Any) -> Any:
    found = _parameters(function)
    if not found or found[0].annotation is inspect.Parameter.empty:
        return default
    annotation = found[0].annotation
    if not isinstance(annotation, str):
        return annotation
    target: Any = inspect.unwrap(function)
    target = getattr(target, "func", target)
    if not inspect.isroutine(target):
        target = getattr(target, "__call__", target)  # noqa: B004
    try:
        hints = get_type_hints(target, localns=scope, include_extras=True)
    except NameError:
        # Another annotation may be of a module that only type checkers import.
        names = {**getattr(target, "__globals__", {}), **scope}
        try:
            return eval(annotation, names)
        except NameError as error:
            raise InvalidArguments(
                f"the payload's annotation {annotation!r} of {name} cannot be read: {error}"
            ) from None
    return hints.get(found[0].name, Any)
