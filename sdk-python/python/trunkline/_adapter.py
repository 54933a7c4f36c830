"""The low-level form that the plugin world knows: one callback for all events, one sender."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any

from ._current import CURRENT
from ._errors import LinkLost, StaleLease
from ._event import Event, draft_of
from ._handler import Handler, is_async, takes
from ._members import Published, published
from ._outcome import Returned
from ._plugin import Plugin
from ._run import serve
from ._runtime import Runtime


class BrokerSender:
    """Publishes, and speaks any method of the contract.

    A publish before the instance is active waits until it is.
    """

    __slots__ = ("_plugin",)

    def __init__(self, plugin: Plugin[Any]) -> None:
        self._plugin = plugin

    async def _call(self, name: str, args: dict[str, Any]) -> Any:
        runtime = Runtime.current()
        handle = self._plugin.bind(runtime)
        ctx = CURRENT.get()
        if ctx is not None and ctx._runtime is runtime and ctx._instance == handle:
            # What is said while an event is handled belongs to it; a task may go on after that.
            try:
                return await runtime.call(ctx.ticket, name, args)
            except StaleLease:
                pass
        return await runtime.call(handle, name, args)

    async def publish(self, topic: str, event: Event[Any]) -> Published:
        """Publishes an event; the topic given here wins over the event's.

        Args:
            topic: Where it goes.
            event: A draft, see :meth:`Event.new`, or what came in.
        """
        draft = draft_of(event)
        draft.pop("inbound", None)
        draft.pop("kind", None)
        draft["topic"] = topic
        return published(await self._call("publish", draft))

    async def request(self, method: str, params: Any = None) -> Any:
        """Speaks any method of the contract."""
        args: dict[str, Any] = {"method": method, "params": {} if params is None else params}
        return await self._call("request", args)


class PluginAdapter:
    """Serves a manifest with one function for all events.

    Calls of declared tools are no events: a manifest with ``[[tools]]`` is refused at the start, and
    served by :class:`Plugin`.

    Args:
        manifest_toml: The text of a ``plugin.toml`` or ``nexo-plugin.toml``; a bad one is an error
            of :meth:`run`.
        on_event: Gets every event: its topic, itself, and the sender. What it returns settles the
            event.
        on_start: Runs at each activation.
        on_shutdown: Runs once at the end.

    Example:
        >>> from trunkline import BrokerSender, Event, PluginAdapter
        >>> async def on_event(topic: str, event: Event, broker: BrokerSender) -> None:
        ...     back = topic.replace("plugin.outbound.", "plugin.inbound.")
        ...     await broker.publish(back, Event.new(back, "my_plugin", event.payload))
        >>> adapter = PluginAdapter(manifest_toml="[plugin]\\nid = 'x'", on_event=on_event)
    """

    def __init__(
        self,
        *,
        manifest_toml: str,
        on_event: Callable[[str, Event[Any], BrokerSender], Awaitable[Returned] | Returned]
        | None = None,
        on_start: Callable[..., Any] | None = None,
        on_shutdown: Callable[..., Any] | None = None,
    ) -> None:
        self._plugin: Plugin[Any] = Plugin("")
        self._plugin._spec = {"manifest": manifest_toml}
        self._broker = BrokerSender(self._plugin)
        if on_event is not None:
            self._plugin._rest = Handler(self._adapted(on_event), {}, {})
        if on_start is not None:
            self._plugin.on_start(on_start)
        if on_shutdown is not None:
            self._plugin.on_stop(_shutdown(on_shutdown))

    def _adapted(
        self, on_event: Callable[[str, Event[Any], BrokerSender], Awaitable[Returned] | Returned]
    ) -> Callable[[Event[Any]], Awaitable[Returned] | Returned]:
        broker = self._broker

        async def rest(event: Event[Any]) -> Returned:
            found = on_event(event.topic, event, broker)
            return await found if inspect.isawaitable(found) else found

        return rest

    @property
    def broker(self) -> BrokerSender:
        """The sender; it works before the first event, and before :meth:`run`."""
        return self._broker

    @property
    def instance(self) -> str:
        """The account's label; empty before the handshake."""
        plugin = self._plugin
        runtime = plugin._bound_to
        if runtime is None:
            return ""
        found: str = runtime.tell(plugin._handle, "instance")
        return found

    async def run(self) -> None:
        """Serves until the broker, a signal to the process, or the end of the link says to stop.

        Raises:
            TrunklineError: A bad manifest, no link, what ``on_shutdown`` failed with.
        """
        await serve(self)

    async def run_stdio(self) -> None:
        """Does the same, and insists on the link that the process was given.

        Raises:
            LinkLost: There is none.
        """
        if "TRUNKLINE_LINK_FD" not in os.environ and (os.isatty(0) or os.isatty(1)):
            raise LinkLost(
                "expected stdin and stdout to be the link to the broker, found a terminal"
            )
        await serve(self)

    async def serve_on(self, runtime: Runtime) -> None:
        """Serves on a runtime."""
        await self._plugin.serve_on(runtime)

    def stop(self, reason: str = "") -> None:
        """Ends the plugin in order."""
        self._plugin.stop(reason)


def _shutdown(on_shutdown: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the arguments that the function takes: none, or the context and the reason."""
    wanted = takes(on_shutdown, 2)
    if is_async(on_shutdown):

        async def stop(ctx: Any, reason: str) -> None:
            await on_shutdown(*(ctx, reason)[:wanted])

        return stop

    def stop_blocking(ctx: Any, reason: str) -> None:
        on_shutdown(*(ctx, reason)[:wanted])

    return stop_blocking
