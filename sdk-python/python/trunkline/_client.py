"""The agent's side: a client of the broker, with handlers or with calls alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, cast

from ._context import Calls
from ._duration import Duration, Start, duration, given, start
from ._errors import LinkLost
from ._event import Event, event_of
from ._outcome import Reject, Retry
from ._plugin import Handlers, RetryPolicy
from ._runtime import Runtime


class _Unconnected:
    def __getattr__(self, name: str) -> Any:
        raise LinkLost("the client is not connected; hint: `await client.connect()`")


class Delivery:
    """One event of a subscription, to be settled with :meth:`ack`, :meth:`nak` or :meth:`reject`."""

    __slots__ = ("topic", "event", "attempt", "redelivered", "subscription", "_runtime", "_ticket")

    def __init__(self, runtime: Runtime, found: dict[str, Any]) -> None:
        self._runtime = runtime
        self._ticket: int = found["delivery"]
        self.topic: str = found["topic"]
        self.event: Event[Any] = event_of({"topic": found["topic"], **found["event"]})
        self.attempt: int = found["attempt"]
        self.redelivered: bool = found["redelivered"]
        self.subscription: str | None = found["subscription"]

    @property
    def payload(self) -> Any:
        """What the event says."""
        return self.event.payload

    def ack(self) -> None:
        """Settles the event as handled."""
        self._runtime.tell(self._ticket, "settle", {"ack": True})

    def nak(self, after: Duration, reason: str = "", *, counted: bool = True) -> None:
        """Asks for the event again later.

        Args:
            after: The time until the next attempt.
            reason: Why.
            counted: Whether this attempt counts as a failure.
        """
        retry = Retry(after, reason, counted=counted)._args()
        self._runtime.tell(self._ticket, "settle", {"nak": retry})

    def reject(self, reason: str, code: str | None = None) -> None:
        """Refuses the event for good.

        Args:
            reason: Why, for people.
            code: Why, for programs.
        """
        reject = Reject(reason, code)._args()
        self._runtime.tell(self._ticket, "settle", {"reject": reject})


class Subscription:
    """Gives the events of a subscription one after the other, with ``async for``."""

    def __init__(self, runtime: Runtime, found: dict[str, Any]) -> None:
        self._runtime = runtime
        self._handle: int = found["subscription"]
        self.name: str = found["name"]
        """Its full name."""
        self.created: bool = found["created"]
        """It was not there before."""
        self.cursor: int = found["cursor"]
        """Where it stands."""

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        found = await self._runtime.call(self._handle, "next", {})
        if found is None:
            raise StopAsyncIteration
        return Delivery(self._runtime, found)

    async def next(self) -> Delivery | None:
        """Waits for the next event; none when the client was closed."""
        found = await self._runtime.call(self._handle, "next", {})
        return None if found is None else Delivery(self._runtime, found)

    async def seek(self, to: Start) -> int:
        """Moves the cursor; gives where it stands."""
        found: int = await self._runtime.call(self._handle, "seek", {"to": start(to)})
        return found

    async def delete(self) -> None:
        """Deletes the subscription at the broker."""
        await self._runtime.call(self._handle, "delete", {})


class Client(Handlers, Calls):
    """An agent, or a script: handlers like a plugin's, and the same calls.

    Args:
        name: Its name, part of the names of its subscriptions.
        socket: The daemon's socket; else ``TRUNKLINE_SOCKET``, else the local one.
        url: The daemon's address over WebSocket, such as ``ws://127.0.0.1:7711/v1/link``; else
            ``TRUNKLINE_URL``, else its socket.
        token: What it may do; else ``TRUNKLINE_TOKEN``, else the local token file.
        token_file: A file with the token; else ``TRUNKLINE_TOKEN_FILE``.

    Example:
        >>> from trunkline import Client, InboundMessage, Reply
        >>> agent = Client("support")
        >>> @agent.on("plugin.inbound.>", group="support", timeout="2m")
        ... async def answer(message: InboundMessage) -> Reply:
        ...     return Reply(f"you said: {message.text}")
    """

    def __init__(
        self,
        name: str,
        *,
        socket: str | None = None,
        url: str | None = None,
        token: str | None = None,
        token_file: str | None = None,
    ) -> None:
        super().__init__(name)
        self._spec = {
            "name": name,
            **given(socket=socket, url=url, token=token, token_file=token_file),
        }
        self._runtime = cast(Runtime, _Unconnected())
        self._target = 0

    def bind(self, runtime: Runtime) -> int:
        """Declares the client to a runtime; gives its handle."""
        if self._bound_to is runtime:
            return self._handle
        handle = runtime.declare("client", {**self._spec, "on": self._declared(runtime)}, self)
        self.adopt(runtime, handle)
        return handle

    def adopt(self, runtime: Runtime, handle: int) -> None:
        """Takes a handle that the core made."""
        self._bound_to = self._runtime = runtime
        self._handle = self._target = handle
        runtime.enter()

    def unbind(self) -> None:
        """Lets go of the runtime."""
        runtime, self._bound_to = self._bound_to, None
        self._runtime = cast(Runtime, _Unconnected())
        if runtime is not None:
            runtime.owners.pop(self._handle, None)
            runtime.forget(self._handle)
            runtime.leave()

    async def connect(self) -> Client:
        """Connects, and stays connected: a link that is lost is opened again.

        Raises:
            LinkLost: There is no daemon.
            Unauthorized: The token is unknown.
        """
        runtime = Runtime.current()
        try:
            await runtime.call(self.bind(runtime), "connect", {})
        except BaseException:
            self.unbind()
            raise
        return self

    async def close(self) -> None:
        """Closes the link; handlers may end what they do before."""
        runtime = self._bound_to
        if runtime is not None:
            try:
                await runtime.call(self._handle, "close", {})
            finally:
                self.unbind()

    async def __aenter__(self) -> Client:
        return await self.connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def subscribe(
        self,
        *filters: str,
        name: str | None = None,
        group: str | None = None,
        start: Start = "new",
        credit: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        expire: Duration | None = None,
    ) -> Subscription:
        """Subscribes to topics, to read them with ``async for``.

        Args:
            filters: Topics, with ``*`` for one word and ``>`` for the rest.
            name: The subscription's name; it goes on where it stopped.
            group: Is shared by all processes that name it.
            start: Where a new subscription starts.
            credit: How many events may be in flight.
            retry: What happens when a delivery fails.
            timeout: How long handling one event may take.
            expire: After how long without a reader the broker deletes it.
        """
        args = {
            "filters": list(filters),
            "start": _start(start),
            **given(
                name=name,
                group=group,
                credit=credit,
                retry=retry,
                timeout=duration(timeout),
                expire=duration(expire),
            ),
        }
        return Subscription(
            self._runtime, await self._runtime.call(self._target, "subscribe", args)
        )

    # Serving

    async def serve_on(self, runtime: Runtime) -> None:
        """Serves until :meth:`stop`, or until there is no link any more."""
        await runtime.call(self.bind(runtime), "connect", {})
        try:
            await runtime.call(self._handle, "ended", {})
        finally:
            await self.close()

    def stop(self, reason: str = "") -> None:
        """Ends the client in order, where it is served."""
        runtime = self._bound_to
        if runtime is not None:
            closing = runtime.loop.create_task(runtime.call(self._handle, "close", {}))
            self._closing = closing

    async def hook(self, runtime: Runtime, name: str, target: int, arg: Any) -> Any:
        """Has no hooks."""
        return None


_start = start
