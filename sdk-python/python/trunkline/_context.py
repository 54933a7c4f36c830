"""What a handler or hook can reach, in coroutines. For threads see :mod:`._sync`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._blob import BlobRef, Blobs, blob_ids
from ._connect import Conn
from ._duration import Duration, duration, given
from ._errors import LinkLost
from ._event import Event
from ._http import Http
from ._kv import Kv
from ._members import C, EventMembers, InstanceMembers, Published, publish_args, published
from ._outcome import Batch, Receipt, batch_args
from ._timer import Timers
from ._tool import ToolCall, call_args, tool_options

if TYPE_CHECKING:
    from . import _core
    from ._runtime import Runtime


class Sending:
    """A message on its way outside: durable, and known by its id."""

    __slots__ = ("id", "published", "_runtime", "_handle", "__weakref__")

    id: str
    """The id of the outbound event; receipts have it as ``correlation_id``."""
    published: Published
    """What became of the publish."""

    def __init__(self, runtime: Runtime, found: dict[str, Any]) -> None:
        self.id = found["id"]
        self.published = published(found["published"])
        self._runtime = runtime
        self._handle: int = found["sending"]

    async def until(self, state: str, *, timeout: Duration | None = None) -> Receipt:
        """Waits until the message has come so far.

        Args:
            state: ``queued sent delivered`` or ``read``.
            timeout: How long to wait.

        Raises:
            DeliveryFailed: The platform refused it.
            DeliveryUnknown: Nobody can say.
            TimedOut: It has not come so far in time.
        """
        args = {"state": state, **given(timeout=duration(timeout))}
        return Receipt.of(await self._runtime.call(self._handle, "until", args))

    def __del__(self) -> None:
        try:
            self._runtime.forget(self._handle)
        except Exception:
            # At the end of the program there may be nothing left to tell.
            return


class Lock:
    """A named right across processes and hosts; ``async with`` holds it, or ``await`` takes it."""

    __slots__ = ("_runtime", "_target", "_args", "_handle", "_token", "_lost", "_watching")

    def __init__(self, runtime: Runtime, target: int, args: dict[str, Any]) -> None:
        self._runtime = runtime
        self._target = target
        self._args = args
        self._handle: int | None = None
        self._token = 0
        self._lost = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def token(self) -> int:
        """The fencing token: it grows with each holder."""
        return self._token

    @property
    def lost(self) -> bool:
        """It is no longer held, because the broker could not be reached in time."""
        return self._lost

    async def _take(self) -> Lock:
        found = await self._runtime.call(self._target, "lock", self._args)
        self._handle, self._token, self._lost = found["lock"], found["token"], False
        self._watching = asyncio.create_task(self._watch(found["lock"]))
        return self

    async def _watch(self, handle: int) -> None:
        try:
            await self._runtime.call(handle, "lost", {})
        except LinkLost:
            # The core is closed, and its locks with it.
            pass
        self._lost = True

    async def release(self) -> None:
        """Gives the lock back."""
        handle, self._handle = self._handle, None
        if self._watching is not None:
            self._watching.cancel()
        if handle is not None:
            await self._runtime.call(handle, "release", {})

    def __await__(self) -> Generator[Any, Any, Lock]:
        return self._take().__await__()

    async def __aenter__(self) -> Lock:
        return await self._take()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()


class Calls:
    """What can be asked of the broker, for an instance, a client, or the event being handled."""

    __slots__ = ()

    _runtime: Runtime
    _target: int

    async def publish(
        self,
        topic: str,
        payload: Any,
        *,
        session: str | None = None,
        id: str | None = None,
        correlation: str | None = None,
        expires: Duration | None = None,
        ephemeral: bool = False,
        metadata: Mapping[str, Any] | None = None,
        blobs: Iterable[BlobRef | str] | None = None,
    ) -> Published:
        """Publishes an event; durable when this returns.

        Args:
            topic: Where it goes.
            payload: What it says: any JSON value, a dataclass, a message.
            session: The conversation it belongs to.
            id: Its id; else made from the event being handled, so that it is said once.
            correlation: The id of the event that it answers.
            expires: After how long it is of no use any more.
            ephemeral: Only who listens now gets it, and it is never stored.
            metadata: What else to say about it.
            blobs: What is kept with it, and open to whoever receives it.

        Raises:
            TopicNotGranted: The operator did not grant this topic.
            StorageFull: The store has no room.
        """
        args = publish_args(
            topic, payload, session, id, correlation, duration(expires), ephemeral, metadata
        )
        args.update(given(blobs=blob_ids(blobs)))
        return published(await self._runtime.call(self._target, "publish", args))

    async def emit(self, *events: Event[Any] | Batch | Receipt) -> list[Published]:
        """Commits drafts now, all or none; returned instead, they commit with the ack."""
        found = await self._runtime.call(self._target, "emit", batch_args(events))
        return [published(each) for each in found["events"]]

    async def send(
        self,
        kind: str,
        message: Any,
        *,
        to: str | None = None,
        instance: str | None = None,
        id: str | None = None,
    ) -> Sending:
        """Sends a message outside, through a channel of this kind.

        Args:
            kind: The kind of channel.
            message: A text, or an outbound message.
            to: The conversation.
            instance: Through which account; else the session's route, else the only one.
            id: The id of the event.

        Raises:
            Unrouted: No single instance can be chosen.
        """
        args = {"kind": kind, "message": message, **given(to=to, instance=instance, id=id)}
        return Sending(self._runtime, await self._runtime.call(self._target, "send", args))

    def call_tool(
        self,
        name: str,
        arguments: Any = None,
        *,
        timeout: Duration | None = None,
        instance: str | None = None,
        idempotency_key: str | None = None,
    ) -> ToolCall:
        """Calls a tool: ``await`` gives the result, ``async for`` what comes before it.

        Args:
            name: Its full name, ``<plugin>.<tool>``.
            arguments: An object that fits its schema.
            timeout: How long it may take; while something is handled, what is left for that at most.
            instance: Which instance runs it, where the plugin has several.
            idempotency_key: Names what is done: a repeat is answered as the first was.

        Raises:
            ToolNotFound: There is no such tool.
            InvalidArguments: The arguments do not fit its schema.
            Unavailable: Its plugin is not running.
            ToolFailed: It failed; ``detail`` has its own code.
        """
        args = call_args(name, arguments, timeout, instance, idempotency_key)
        return ToolCall(self._runtime, self._target, args)

    @property
    def kv(self) -> Kv:
        """The state of this instance (a client's: the client's)."""
        return Kv(self._runtime, self._target)

    @property
    def blob(self) -> Blobs:
        """The broker's blobs: large content by reference."""
        return Blobs(self._runtime, self._target)

    @property
    def conn(self) -> Conn:
        """This kind's connection; while a frame is handled, the socket that it came from."""
        return Conn(self._runtime, self._target)

    @property
    def timer(self) -> Timers:
        """The instance's timers: the broker keeps them, and tells by an event when one is due."""
        return Timers(self._runtime, self._target)

    def lock(self, name: str, *, ttl: Duration | None = None, wait: Duration | None = None) -> Lock:
        """Takes a lock: a named right across processes and hosts.

        Args:
            name: Its name.
            ttl: After how long without a sign of life others may have it.
            wait: How long to wait for it.

        Raises:
            LockHeld: Somebody else has it.
        """
        args = {"name": name, **given(ttl=duration(ttl), wait=duration(wait))}
        return Lock(self._runtime, self._target, args)

    async def request(self, method: str, params: Any = None) -> Any:
        """Speaks any method of the contract: the way out where this API has no name for it."""
        args: dict[str, Any] = {"method": method, "params": {} if params is None else params}
        return await self._runtime.call(self._target, "request", args)


class InstanceContext(Calls, InstanceMembers[C]):
    """Reaches the broker on behalf of one instance; lives as long as the instance.

    Hooks get it, and tasks of your own may keep it.
    """

    __slots__ = ("_owner",)

    def __init__(
        self, runtime: Runtime, instance: int, read: Any = None, owner: Any = None
    ) -> None:
        self._runtime = runtime
        self._target = self._instance = instance
        self._read = read
        self._owner = owner

    @property
    def http(self) -> Http:
        """The client for HTTP servers outside."""
        return Http(self._runtime, self._target)

    async def register_tool(
        self,
        function: Callable[..., Any],
        *,
        input: Mapping[str, Any] | bool | None = None,
        name: str | None = None,
        description: str | None = None,
        output: Mapping[str, Any] | bool | None = None,
        timeout: Duration | None = None,
        concurrency: int | None = None,
        idempotent: bool = False,
        streaming: bool = False,
        kind: str | None = None,
    ) -> None:
        """Offers a tool from now on, in place of the one of its name; see :meth:`Plugin.tool`."""
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
        spec = self._owner.numbered_tool(self._runtime, function, options)
        await self._runtime.call(self._target, "tool.register", {"tools": [spec]})

    async def unregister_tool(self, name: str) -> None:
        """Offers a tool no longer; calls of it that run go on."""
        await self._runtime.call(self._target, "tool.unregister", {"names": [name]})

    @property
    def cancelled(self) -> bool:
        """The instance is to stop."""
        return self._instance in self._runtime.stopping


class Session:
    """The conversation that the event being handled belongs to."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context[Any]) -> None:
        self._ctx = ctx

    @property
    def id(self) -> str | None:
        """The session's id as the event has it."""
        return self._ctx._incoming.session_id

    @property
    def kv(self) -> Kv:
        """The state of this conversation, of which no other event is in flight here."""
        return Kv(self._ctx._runtime, self._ctx._target, "session")


class Context(Calls, EventMembers[C]):
    """Reaches the broker while one event is handled.

    Example:
        >>> from trunkline import Context, InboundMessage, Reply
        >>> async def answer(message: InboundMessage, ctx: Context) -> Reply:
        ...     turns = await ctx.session.kv.update("turns", lambda n: (n or 0) + 1)
        ...     return Reply(f"{turns}: {message.text}")
    """

    __slots__ = ("coroutine",)

    coroutine: Any
    """The handler itself; for the runner."""

    def __init__(self, runtime: Runtime, incoming: _core.Incoming, read: Any = None) -> None:
        self._runtime = runtime
        self._target = self.ticket = incoming.ticket
        self._instance = incoming.instance
        self._incoming = incoming
        self._read = read
        self._event = None

    @property
    def session(self) -> Session:
        """The conversation that the event belongs to."""
        return Session(self)

    @property
    def http(self) -> Http:
        """The client for HTTP servers outside; calls end with the time that is left."""
        return Http(self._runtime, self._target)

    async def chunk(self, data: Any) -> None:
        """Sends a chunk of the result of a streaming tool; waits while the caller's window is full.

        What a generator yields is sent so.

        Raises:
            Cancelled: Nobody waits for the result any more.
        """
        await self._runtime.call(self._target, "chunk", {"data": data})

    async def reply(self, payload: Any) -> Published:
        """Answers now; a :class:`Reply` that is returned instead commits with the ack."""
        args = {"payload": payload}
        return published(await self._runtime.call(self._target, "reply", args))
