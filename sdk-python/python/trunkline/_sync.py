"""What a function that blocks can reach: the same as a coroutine, and it waits in its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._blob import BlobRef, SyncBlobs, blob_ids
from ._connect import SyncConn
from ._duration import Duration, duration, given
from ._errors import LinkLost
from ._event import Event
from ._http import SyncHttp
from ._kv import SyncKv
from ._members import C, EventMembers, InstanceMembers, Published, publish_args, published
from ._outcome import Batch, Receipt, batch_args
from ._timer import SyncTimers
from ._tool import SyncToolCall, call_args

if TYPE_CHECKING:
    from ._runtime import Runtime


class SyncSending:
    """A message on its way outside; see :class:`Sending`."""

    __slots__ = ("id", "published", "_runtime", "_handle")

    def __init__(self, runtime: Runtime, found: dict[str, Any]) -> None:
        self.id: str = found["id"]
        self.published = published(found["published"])
        self._runtime = runtime
        self._handle: int = found["sending"]

    def until(self, state: str, *, timeout: Duration | None = None) -> Receipt:
        """Waits until the message has come so far; see :meth:`Sending.until`."""
        args = {"state": state, **given(timeout=duration(timeout))}
        return Receipt.of(self._runtime.call_blocking(self._handle, "until", args))

    def __del__(self) -> None:
        try:
            self._runtime.forget(self._handle)
        except Exception:
            # At the end of the program there may be nothing left to tell.
            return


class SyncLock:
    """A named right across processes and hosts; ``with`` holds it."""

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

    def release(self) -> None:
        """Gives the lock back."""
        handle, self._handle = self._handle, None
        self._runtime.loop.call_soon_threadsafe(self._unwatch)
        if handle is not None:
            self._runtime.call_blocking(handle, "release", {})

    def _begin_watch(self, handle: int) -> None:
        self._watching = asyncio.ensure_future(self._watch(handle))

    def _unwatch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self, handle: int) -> None:
        try:
            await self._runtime.call(handle, "lost", {})
        except LinkLost:
            # The core is closed, and its locks with it.
            pass
        self._lost = True

    def __enter__(self) -> SyncLock:
        found = self._runtime.call_blocking(self._target, "lock", self._args)
        self._handle, self._token = found["lock"], found["token"]
        self._runtime.loop.call_soon_threadsafe(self._begin_watch, found["lock"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class SyncCalls:
    """What can be asked of the broker, waiting for the answer; see :class:`Calls`."""

    __slots__ = ()

    _runtime: Runtime
    _target: int

    def publish(
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
        """Publishes an event; durable when this returns. See :meth:`Context.publish`."""
        args = publish_args(
            topic, payload, session, id, correlation, duration(expires), ephemeral, metadata
        )
        args.update(given(blobs=blob_ids(blobs)))
        return published(self._runtime.call_blocking(self._target, "publish", args))

    def emit(self, *events: Event[Any] | Batch | Receipt) -> list[Published]:
        """Commits drafts now, all or none."""
        found = self._runtime.call_blocking(self._target, "emit", batch_args(events))
        return [published(each) for each in found["events"]]

    def send(
        self,
        kind: str,
        message: Any,
        *,
        to: str | None = None,
        instance: str | None = None,
        id: str | None = None,
    ) -> SyncSending:
        """Sends a message outside; see :meth:`Context.send`."""
        args = {"kind": kind, "message": message, **given(to=to, instance=instance, id=id)}
        found = self._runtime.call_blocking(self._target, "send", args)
        return SyncSending(self._runtime, found)

    def call_tool(
        self,
        name: str,
        arguments: Any = None,
        *,
        timeout: Duration | None = None,
        instance: str | None = None,
        idempotency_key: str | None = None,
    ) -> SyncToolCall:
        """Calls a tool; its ``result()`` waits. See :meth:`Context.call_tool`."""
        args = call_args(name, arguments, timeout, instance, idempotency_key)
        return SyncToolCall(self._runtime, self._target, args)

    @property
    def kv(self) -> SyncKv:
        """The state of this instance."""
        return SyncKv(self._runtime, self._target)

    @property
    def blob(self) -> SyncBlobs:
        """The broker's blobs: large content by reference."""
        return SyncBlobs(self._runtime, self._target)

    @property
    def conn(self) -> SyncConn:
        """This kind's connection."""
        return SyncConn(self._runtime, self._target)

    @property
    def http(self) -> SyncHttp:
        """The client for HTTP servers outside."""
        return SyncHttp(self._runtime, self._target)

    @property
    def timer(self) -> SyncTimers:
        """The instance's timers."""
        return SyncTimers(self._runtime, self._target)

    def lock(
        self, name: str, *, ttl: Duration | None = None, wait: Duration | None = None
    ) -> SyncLock:
        """Takes a lock; see :meth:`Context.lock`."""
        args = {"name": name, **given(ttl=duration(ttl), wait=duration(wait))}
        return SyncLock(self._runtime, self._target, args)

    def request(self, method: str, params: Any = None) -> Any:
        """Speaks any method of the contract."""
        args: dict[str, Any] = {"method": method, "params": {} if params is None else params}
        return self._runtime.call_blocking(self._target, "request", args)


class SyncInstanceContext(SyncCalls, InstanceMembers[C]):
    """Is the :class:`InstanceContext` of a hook that is a plain function."""

    __slots__ = ()

    def __init__(self, runtime: Runtime, instance: int, read: Any = None) -> None:
        self._runtime = runtime
        self._target = self._instance = instance
        self._read = read

    @property
    def cancelled(self) -> bool:
        """The instance is to stop."""
        return self._instance in self._runtime.stopping


class SyncSession:
    """The conversation that the event being handled belongs to."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: SyncContext[Any]) -> None:
        self._ctx = ctx

    @property
    def id(self) -> str | None:
        """The session's id as the event has it."""
        return self._ctx._incoming.session_id

    @property
    def kv(self) -> SyncKv:
        """The state of this conversation."""
        return SyncKv(self._ctx._runtime, self._ctx._target, "session")


class SyncContext(SyncCalls, EventMembers[C]):
    """Is the :class:`Context` of a handler that is a plain function: its calls block.

    Example:
        >>> from trunkline import InboundMessage, Reply, SyncContext
        >>> def answer(message: InboundMessage, ctx: SyncContext) -> Reply:
        ...     turns = ctx.session.kv.update("turns", lambda n: (n or 0) + 1)
        ...     return Reply(f"{turns}: {message.text}")
    """

    __slots__ = ()

    @property
    def session(self) -> SyncSession:
        """The conversation that the event belongs to."""
        return SyncSession(self)

    def chunk(self, data: Any) -> None:
        """Sends a chunk of the result of a streaming tool; see :meth:`Context.chunk`."""
        self._runtime.call_blocking(self._target, "chunk", {"data": data})

    def reply(self, payload: Any) -> Published:
        """Answers now; a :class:`Reply` that is returned instead commits with the ack."""
        args = {"payload": payload}
        return published(self._runtime.call_blocking(self._target, "reply", args))
