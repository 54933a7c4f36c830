"""A plugin: a plain object with handlers on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

from . import _core
from ._context import Context, InstanceContext
from ._duration import Duration, Start, duration, given, start
from ._errors import ConfigInvalid, InvalidArguments, InvalidPayload
from ._handler import Handler, Mapper, is_async, locals_of, name_of, takes
from ._members import C
from ._outcome import Returned
from ._patterns import F, Patterns
from ._payload import Misfit, reader
from ._runtime import Owner, Runtime
from ._sync import SyncContext, SyncInstanceContext
from ._tool import tool_of, tool_options

H = TypeVar("H", bound=Callable[..., Any])
M = TypeVar("M", bound=Callable[[Any], Returned])


class RetryPolicy(TypedDict, total=False):
    """Says how failures of a subscription's deliveries are handled; what is absent has a default."""

    failures_max: int
    """Counted failures that make a dead letter."""
    backoff_ms: list[int]
    """Waits between attempts; the last one repeats."""
    age_max_ms: int
    """Longest time from the first attempt to the dead letter."""
    lease_ms: int
    """Length of a lease."""
    on_expired: str
    """``dead`` or ``drop``: what happens to an event whose ``expires_at`` has passed."""


class Handlers(Owner):
    """Is what has handlers: a plugin or a client."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._on: list[tuple[Handler, dict[str, Any]]] = []
        self._mappers: dict[type, Mapper] = {}
        self._bound_to: Runtime | None = None
        self._handle = 0

    def on(
        self,
        *filters: str,
        name: str | None = None,
        group: str | None = None,
        start: Start = "new",
        timeout: Duration | None = None,
        retry: RetryPolicy | None = None,
        settle: str | None = None,
        credit: tuple[int, int] | None = None,
    ) -> Callable[[F], F]:
        """Registers a handler for topics; what it returns or raises settles the event.

        It is called with ``(payload, ctx)``, or with the payload alone. A plain ``def`` runs in a
        thread of the core. The function itself is given back unchanged.

        Args:
            filters: Topics, with ``*`` for one word and ``>`` for the rest.
            name: The subscription's name; else the function's.
            group: Is shared by all processes that name it.
            start: Where a new subscription starts.
            timeout: How long handling one event may take.
            retry: What happens when it fails.
            settle: ``"manual"`` to settle with ``ctx.ack``, ``nak`` and ``reject``.
            credit: How many events, and how many bytes of them, may be in flight.
        """
        options = given(
            group=group,
            timeout=duration(timeout),
            retry=retry,
            settle=settle,
            credit=_credit(credit),
        )
        scope = locals_of(1)

        def register(function: F) -> F:
            handler = Handler(function, scope, self._mappers)
            spec = {
                "filters": list(filters),
                "name": name or _subscription_name(function),
                "start": _start(start),
                **options,
            }
            self._on.append((handler, spec))
            return function

        return register

    def on_error(self, kind: type[BaseException]) -> Callable[[M], M]:
        """Maps exceptions of a type to outcomes; the function gets the exception.

        Args:
            kind: The exception, and all below it.
        """

        def register(function: M) -> M:
            self._mappers[kind] = function
            return function

        return register

    def _declared(self, runtime: Runtime) -> list[dict[str, Any]]:
        return [self._numbered(runtime, handler, spec) for handler, spec in self._on]

    def _numbered(self, runtime: Runtime, handler: Handler, spec: dict[str, Any]) -> dict[str, Any]:
        handler.resolve()
        sync = {"sync": True} if handler.is_sync else {}
        return {"handler": runtime.handler(handler, self), **spec, **sync}

    def make_context(self, runtime: Runtime, incoming: _core.Incoming) -> Context[Any]:
        """Makes the context of an event."""
        return Context(runtime, incoming)

    def make_sync_context(self, runtime: Runtime, incoming: _core.Incoming) -> SyncContext[Any]:
        """Makes the context of an event for a function that blocks."""
        return SyncContext(runtime, incoming)


def _credit(credit: tuple[int, int] | None) -> dict[str, int] | None:
    return None if credit is None else {"events": credit[0], "bytes": credit[1]}


_start = start


def _subscription_name(function: Callable[..., Any]) -> str:
    name = str(getattr(function, "__name__", "")).strip("_")
    if not name.isidentifier():
        raise InvalidArguments(f"{name_of(function)} has no name of its own; hint: give `name=`")
    return name.lower()


class Plugin(Handlers, Patterns[C]):
    """Connects a channel, or does something with events, in a process that the daemon keeps running.

    Args:
        id: As in ``plugin.toml``.
        version: The plugin's version.
        config: A dataclass, TypedDict or model that ``ctx.config`` is read as.
        credit: How many events, and how many bytes of them, may be in flight.

    Example:
        >>> from trunkline import Json, Plugin, Reply
        >>> plugin = Plugin("echo")
        >>> @plugin.outbound("echo")
        ... async def echo(payload: Json) -> Reply:
        ...     return Reply(payload)
    """

    def __init__(
        self,
        id: str,
        *,
        version: str | None = None,
        config: type[C] | None = None,
        credit: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(id)
        self._spec: dict[str, Any] = {"id": id, **given(version=version, credit=_credit(credit))}
        self._read = None if config is None else _config_reader(config)
        self._outbound: list[tuple[Handler, dict[str, Any]]] = []
        self._tools: list[tuple[Handler, dict[str, Any]]] = []
        self._patterns: dict[str, list[tuple[Handler, dict[str, Any]]]] = {}
        self._urls: dict[str, Callable[..., Any]] = {}
        self._rest: Handler | None = None
        self._hooks: dict[str, Callable[..., Any]] = {}
        self._kept: set[asyncio.Task[Any]] = set()

    @property
    def id(self) -> str:
        """The plugin's id."""
        return self.name

    def outbound(
        self,
        kind: str,
        *,
        timeout: Duration | None = None,
        rate: str | None = None,
        rate_per_target: str | None = None,
        idempotent: bool = False,
        reconcile: Callable[..., Any] | None = None,
        settle: str | None = None,
    ) -> Callable[[F], F]:
        """Registers the handler of what is sent to a channel; what it returns is the receipt.

        With a rate, ``idempotent`` or ``reconcile`` it is an adapter to a provider: no call is made
        twice unless that was allowed, and where nobody can say what became of a call the receipt
        is ``unknown``.

        Args:
            kind: The channel's kind, as in ``plugin.toml``.
            timeout: How long handling one message may take.
            rate: How often the provider may be called by this instance, such as ``"30/s"``.
            rate_per_target: How often for one conversation.
            idempotent: The provider takes ``ctx.idempotency_key`` only once, or twice does no harm.
            reconcile: Asks the provider what became of a call: ``reconcile(message, ctx)`` returns
                its id, a :class:`Receipt`, or ``None`` where the provider never got it.
            settle: ``"manual"`` to settle with ``ctx.ack``, ``nak`` and ``reject``.
        """
        options = given(
            kind=kind,
            timeout=duration(timeout),
            rate=rate,
            rate_per_target=rate_per_target,
            idempotent=idempotent or None,
            settle=settle,
        )
        scope = locals_of(1)
        if reconcile is not None:
            options["reconcile"] = Handler(reconcile, scope, self._mappers)

        def register(function: F) -> F:
            self._outbound.append((Handler(function, scope, self._mappers), options))
            return function

        return register

    def tool(
        self,
        name: str | None = None,
        *,
        input: Mapping[str, Any] | bool | None = None,
        description: str | None = None,
        output: Mapping[str, Any] | bool | None = None,
        timeout: Duration | None = None,
        concurrency: int | None = None,
        idempotent: bool = False,
        streaming: bool = False,
        kind: str | None = None,
    ) -> Callable[[H], H]:
        """Registers a tool that others may call as ``<plugin>.<name>``; what it returns is the result.

        The signature is the schema: it is called with its arguments by their names, converted to
        their types; a parameter of the type :class:`Context` is the context. A default makes an argument
        optional, ``Annotated[T, "text"]`` describes it, :class:`Field` bounds it. A single
        parameter that is a dataclass, a TypedDict or a model is the whole of the arguments. The
        type of what it returns is the schema of the output. What has no schema is refused.

        A generator streams what it yields. A plain ``def`` runs in a thread of the core. The
        function itself is given back unchanged.

        Args:
            name: Its name; else the function's.
            input: The JSON Schema of its arguments; then it is called with ``(arguments, ctx)``, or
                with the arguments alone.
            description: What it does, for people and models; else the docstring's first paragraph.
            output: The JSON Schema of its result, of one chunk if it is streaming.
            timeout: How long a call may take; the caller may say less.
            concurrency: How many calls run at once; more wait.
            idempotent: Running it twice does no more than running it once.
            streaming: Its result comes in chunks; always so of a generator.
            kind: ``"tool"``, ``"command"`` or ``"retriever"``.

        Example:
            >>> from typing import Annotated
            >>> from trunkline import Context, Field, Plugin
            >>> plugin = Plugin("sums")
            >>> @plugin.tool(timeout="5s", idempotent=True)
            ... async def add(a: Annotated[float, "The first one"], b: float = 0) -> float:
            ...     \"\"\"Add two numbers.\"\"\"
            ...     return a + b
        """
        if callable(name):
            text = "expected a name, found a function: write `@plugin.tool()`, with parentheses"
            raise InvalidArguments(text)
        options = tool_options(
            name,
            description,
            input,
            output,
            timeout,
            concurrency,
            idempotent,
            streaming,
            kind,
        )
        scope = locals_of(1)

        def register(function: H) -> H:
            self._tools.append(tool_of(function, scope, self._mappers, options))
            return function

        return register

    def _sending(
        self, runtime: Runtime, handler: Handler, options: dict[str, Any]
    ) -> dict[str, Any]:
        spec = self._numbered(runtime, handler, options)
        asks = options.get("reconcile")
        if asks is None:
            return spec
        numbered = self._numbered(runtime, asks, {})
        return {**spec, "reconcile": numbered["handler"], "reconcile_sync": asks.is_sync}

    def numbered_tool(
        self, runtime: Runtime, function: Callable[..., Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        """Declares a tool to a runtime; gives what is said of it."""
        return self._numbered(runtime, *tool_of(function, {}, self._mappers, options))

    def on_start(self, hook: H) -> H:
        """Runs at each activation: ``hook(ctx)``. What it returns is ``ctx.state``.

        It may raise :class:`RetryLater`, :class:`NeedsAuth` or :class:`Fatal`.
        """
        return self._hooked("on_start", hook)

    def on_stop(self, hook: H) -> H:
        """Runs once at the end of each activation: ``hook(ctx, reason)``."""
        return self._hooked("on_stop", hook)

    def on_config(self, hook: H) -> H:
        """Runs when the config changes: ``hook(ctx, new)``. It accepts by returning.

        A :class:`Reject` keeps the old config.
        """
        return self._hooked("on_config", hook)

    def on_pause(self, hook: H) -> H:
        """Runs when the instance is paused: ``hook(ctx, reason)``."""
        return self._hooked("on_pause", hook)

    def on_resume(self, hook: H) -> H:
        """Runs when the instance goes on: ``hook(ctx, reason)``."""
        return self._hooked("on_resume", hook)

    def _hooked(self, name: str, hook: H) -> H:
        if name in self._hooks:
            raise InvalidArguments(f"{name} has a hook already: {name_of(self._hooks[name])}")
        takes(hook, 1 if name == "on_start" else 2)
        self._hooks[name] = hook
        return hook

    # Serving

    def bind(self, runtime: Runtime) -> int:
        """Declares the plugin to a runtime; gives its handle."""
        if self._bound_to is runtime:
            return self._handle
        spec = dict(self._spec)
        spec["on"] = self._declared(runtime)
        spec["outbound"] = [
            self._sending(runtime, handler, options) for handler, options in self._outbound
        ]
        spec["tools"] = [
            self._numbered(runtime, handler, options) for handler, options in self._tools
        ]
        for section, registered in self._patterns.items():
            spec[section] = [self._numbered(runtime, *each) for each in registered]
        if self._rest is not None:
            spec["rest"] = self._numbered(runtime, self._rest, {})["handler"]
        # The stop is always told, so that contexts know of it.
        spec["hooks"] = sorted({*self._hooks, "on_stop"})
        self._handle = runtime.declare("plugin", spec, self)
        self._bound_to = runtime
        runtime.enter()
        return self._handle

    def unbind(self) -> None:
        """Lets go of the runtime."""
        runtime, self._bound_to = self._bound_to, None
        if runtime is not None:
            runtime.owners.pop(self._handle, None)
            runtime.leave()

    async def serve_on(self, runtime: Runtime) -> None:
        """Serves until the broker, :meth:`stop`, or the end of the link says to stop."""
        try:
            handle = self.bind(runtime)
            await runtime.call(handle, "serve", {})
        finally:
            self.unbind()

    def stop(self, reason: str = "") -> None:
        """Ends the plugin in order, where it is served."""
        runtime = self._bound_to
        if runtime is not None:
            runtime.tell(self._handle, "stop", {"reason": reason})

    def make_context(self, runtime: Runtime, incoming: _core.Incoming) -> Context[Any]:
        """Makes the context of an event."""
        return Context(runtime, incoming, self._read)

    def make_sync_context(self, runtime: Runtime, incoming: _core.Incoming) -> SyncContext[Any]:
        """Makes the context of an event for a function that blocks."""
        return SyncContext(runtime, incoming, self._read)

    async def hook(self, runtime: Runtime, name: str, target: int, arg: Any) -> Any:
        """Calls a hook; gives its value."""
        if name == "on_stop":
            runtime.stopping.add(target)
        elif name == "on_start":
            runtime.stopping.discard(target)
        hook = self._urls.get(arg) if name == "connect_url" else self._hooks.get(name)
        if hook is None:
            return None
        if name == "on_config" and self._read is not None:
            arg = self._read(arg)
        wanted = takes(hook, 1 if name in ("on_start", "connect_url") else 2)
        before = asyncio.all_tasks()
        if is_async(hook):
            ctx = InstanceContext[Any](runtime, target, self._read, self)
            value = await hook(*(ctx, arg)[:wanted])
        else:
            blocking = SyncInstanceContext[Any](runtime, target, self._read)
            value = await _in_thread(hook, *(blocking, arg)[:wanted])
        if name == "connect_url":
            return value
        if name != "on_start":
            return None
        # The loop itself would let them go: tasks of `on_start` live until the stop.
        for task in asyncio.all_tasks() - before:
            self._kept.add(task)
            task.add_done_callback(self._kept.discard)
        runtime.states[target] = value
        try:
            _core.dumps(value)
        except InvalidPayload:
            return None
        return value


def _config_reader(kind: Any) -> Callable[[Any], Any]:
    read = reader(kind)

    def config(values: Any) -> Any:
        try:
            return read(values, "")
        except Misfit as misfit:
            raise ConfigInvalid(f"{misfit.pointer or 'config'}: {misfit.reason}") from None

    return config


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a hook that blocks in a thread that never keeps the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

    def work() -> None:
        try:
            value, failed = function(*args), None
        except BaseException as error:
            value, failed = None, error
            if isinstance(error, StopIteration):
                failed = RuntimeError("the hook raised StopIteration")
        loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=work, name="trunkline-hook", daemon=True).start()
    return await done
