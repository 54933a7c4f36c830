"""Tools: how a function becomes one, and how one is called."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, cast

from ._core import check_tool
from ._duration import Duration, duration, given
from ._event import Event
from ._handler import Handler, Mapper, is_async, name_of
from ._outcome import Batch, Outcome, Receipt, Reply
from ._schema import first_paragraph
from ._signature import Typed

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ._runtime import Runtime

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


class ToolError(Outcome):
    """Says that a tool could not do what it was asked to.

    Args:
        message: What went wrong, for people and models.
        code: A code of the catalogue, such as ``not_found``, is the code of the error; any other
            stands in the detail of a ``tool_failed``.
        retryable: Whether the same call may succeed later.

    Example:
        >>> from trunkline import Json, ToolError
        >>> async def refund(arguments: Json) -> None:
        ...     raise ToolError("the charge is too old", "charge_too_old")
    """

    _word = "tool_error"

    def __init__(self, message: str, code: str | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable

    def _args(self) -> dict[str, Any]:
        return {"message": self.message, "retryable": self.retryable, **given(code=self.code)}


class ToolStep(NamedTuple):
    """What a call tells before its result: how far it is, or a part of the result."""

    kind: str
    """``"progress"`` or ``"chunk"``."""
    data: Any = None
    """The chunk; of a progress, data for programs."""
    done: float | None = None
    """How much is done."""
    total: float | None = None
    """Of how much."""
    message: str | None = None
    """What happens."""


_REFUSED = (Reply, Event, Batch, Receipt)


def result_of(value: Any) -> Any:
    """Gives the form in which the core takes what a tool returned."""
    if isinstance(value, Outcome):
        return {value._word: value._args()}
    if isinstance(value, _REFUSED):
        return {"invalid": type(cast("object", value)).__name__}
    return {"result": value}


def tool_of(
    function: Callable[..., Any],
    scope: dict[str, Any],
    mappers: dict[type, Mapper],
    options: dict[str, Any],
) -> tuple[Handler, dict[str, Any]]:
    """Makes a handler of a tool's function, and what is said of it."""
    streams = inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    spec = dict(options)
    spec.setdefault("name", str(getattr(function, "__name__", "")))
    typed = Typed(spec["name"], function, scope)
    if "input" in spec:
        handler = Handler(function, scope, mappers, returned=result_of, streams=streams)
    else:
        spec["input"] = typed.input()
        handler = _Typed(function, typed, mappers)
    if streams:
        taken, call = handler.takes, handler.function
        if inspect.isasyncgenfunction(function):
            handler.function = _pieces(call, taken)
            handler.is_sync = False
        else:
            handler.function = _pieces_of_thread(call, taken)
        handler.takes = 2
    if "output" not in spec and (streams or not spec.get("streaming")):
        output = typed.output(streams, is_needed="input" not in options)
        if output is not None:
            spec["output"] = output
    if streams:
        spec["streaming"] = True
    check_tool(spec["name"], "input" in spec)
    if "description" not in spec:
        spec["description"] = first_paragraph(inspect.getdoc(function) or "") or typed.description
    return handler, spec


class _Typed(Handler):
    """A function that is called with its arguments, each by its name."""

    __slots__ = ()

    def __init__(
        self, function: Callable[..., Any], typed: Typed, mappers: dict[type, Mapper]
    ) -> None:
        super().__init__(typed.call(), {}, mappers, returned=result_of)
        self.name = name_of(function)
        self.is_sync = not is_async(function)
        self.form = typed.form()

    def resolve(self) -> None:
        """Does nothing: it was read when it was registered."""


def tool_options(
    name: str | None,
    description: str | None,
    input: Mapping[str, Any] | bool | None,
    output: Mapping[str, Any] | bool | None,
    timeout: Duration | None,
    concurrency: int | None,
    idempotent: bool,
    streaming: bool,
    kind: str | None,
) -> dict[str, Any]:
    """Gives the options of a tool that were said."""
    options = given(
        name=name,
        description=description,
        input=input,
        output=output,
        timeout=duration(timeout),
        concurrency=concurrency,
        kind=kind,
    )
    if idempotent:
        options["idempotent"] = True
    if streaming:
        options["streaming"] = True
    return options


def _pieces(function: Callable[..., Any], taken: int) -> Callable[..., Any]:
    async def stream(arguments: Any, ctx: Any) -> None:
        async with aclosing(function(*(arguments, ctx)[:taken])) as pieces:
            async for piece in pieces:
                await ctx.chunk(piece)

    stream.__qualname__ = name_of(function)
    return stream


def _pieces_of_thread(function: Callable[..., Any], taken: int) -> Callable[..., Any]:
    def stream(arguments: Any, ctx: Any) -> None:
        with closing(function(*(arguments, ctx)[:taken])) as pieces:
            for piece in pieces:
                ctx.chunk(piece)

    stream.__qualname__ = name_of(function)
    return stream


def call_args(
    name: str,
    arguments: Any,
    timeout: Duration | None,
    instance: str | None,
    idempotency_key: str | None,
) -> dict[str, Any]:
    """Gives what the core takes for a call."""
    return {
        "name": name,
        "arguments": {} if arguments is None else arguments,
        **given(timeout=duration(timeout), instance=instance, idempotency_key=idempotency_key),
    }


class _Call:
    """A call that was begun; when nobody holds it any more, it is cancelled."""

    __slots__ = ("_runtime", "_handle", "_result", "__weakref__")

    def __init__(self, runtime: Runtime, target: int, args: dict[str, Any]) -> None:
        self._runtime = runtime
        self._result: tuple[Any] | None = None
        self._handle: int = runtime.tell(target, "call_tool", args)

    def cancel(self, reason: str | None = None) -> None:
        """Gives the call up: its handler is told."""
        if self._result is None:
            self._runtime.tell(self._handle, "cancel", given(reason=reason))

    def __del__(self) -> None:
        try:
            self._runtime.forget(self._handle)
        except Exception:
            # At the end of the program there may be nothing left to tell.
            return


class ToolCall(_Call, Generic[T]):
    """A call of a tool: awaited it is the result, iterated it gives progress and chunks before.

    It begins at once. Cancelling the task that awaits it cancels it, and so does letting go of it.
    Of a streaming tool whose chunks were not read the result is all of them: texts as one text,
    anything else as a list.

    Example:
        >>> from trunkline import Client
        >>> async def example(client: Client) -> None:
        ...     call = client.call_tool("stripe.create_invoice", {"customer": "cus_9"})
        ...     async for step in call:
        ...         print(step.kind, step.message)
        ...     print(await call)
    """

    __slots__ = ()

    async def _wait(self) -> T:
        if self._result is None:
            try:
                self._result = (await self._runtime.call(self._handle, "result", {}),)
            except asyncio.CancelledError:
                self.cancel("the caller was cancelled")
                raise
        result: T = self._result[0]
        return result

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait().__await__()

    def __aiter__(self) -> AsyncIterator[ToolStep]:
        return self

    async def __anext__(self) -> ToolStep:
        found = await self._runtime.call(self._handle, "next", {})
        if found is None:
            raise StopAsyncIteration
        return ToolStep(**found)


class ToolCaller(Protocol):
    """Whoever calls tools: a client, the context of a handler, a ``TestBroker``.

    ``trunkline tools client --lang python`` writes classes that take one.

    Example:
        >>> from trunkline import ToolCall, ToolCaller
        >>> def refund(caller: ToolCaller, charge: str) -> ToolCall[bool]:
        ...     return caller.call_tool("stripe.refund", {"charge": charge})
    """

    def call_tool(
        self,
        name: str,
        arguments: Any = None,
        *,
        timeout: Duration | None = None,
        instance: str | None = None,
        idempotency_key: str | None = None,
    ) -> ToolCall:
        """Calls a tool; see :meth:`Context.call_tool`."""
        ...


class SyncToolCall(_Call):
    """A call of a tool from a function that blocks; see :class:`ToolCall`.

    Example:
        >>> from trunkline import Json, SyncContext
        >>> def answer(payload: Json, ctx: SyncContext) -> None:
        ...     call = ctx.call_tool("stripe.create_invoice", {"customer": "cus_9"})
        ...     for step in call:
        ...         print(step.kind, step.message)
        ...     print(call.result())
    """

    __slots__ = ()

    def result(self) -> Any:
        """Waits for the result."""
        if self._result is None:
            self._result = (self._runtime.call_blocking(self._handle, "result", {}),)
        return self._result[0]

    def __iter__(self) -> Iterator[ToolStep]:
        return self

    def __next__(self) -> ToolStep:
        found = self._runtime.call_blocking(self._handle, "next", {})
        if found is None:
            raise StopIteration
        return ToolStep(**found)
