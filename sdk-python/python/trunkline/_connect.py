"""What a handler reaches of a long-running connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._duration import Duration, duration

if TYPE_CHECKING:
    from ._runtime import Runtime


class ConnMembers:
    """What is known of a connection, and told about it, without waiting."""

    __slots__ = ("_runtime", "_target")

    def __init__(self, runtime: Runtime, target: int) -> None:
        self._runtime = runtime
        self._target = target

    @property
    def cursor(self) -> Any:
        """Where to go on from: what was committed last."""
        return self._runtime.tell(self._target, "conn.cursor")

    def heartbeat(self, every: Duration, frame: Any, expect: Any = None) -> None:
        """Sends a frame again and again, as long as this socket lives.

        Args:
            every: How often; the first one is somewhere in the first interval.
            frame: What is sent; ``{cursor}`` and ``{cursor.key}`` are filled in each time.
            expect: What an answer has at least. A missing answer is the connection's end; answers
                are not handed to the handler.
        """
        args = {"every": duration(every), "frame": frame, "expect": expect}
        self._runtime.tell(self._target, "conn.heartbeat", args)


class Conn(ConnMembers):
    """Is a kind's connection; while a frame is handled, the socket that it came from."""

    __slots__ = ()

    async def send(self, frame: Any) -> None:
        """Sends a frame; when this returns, it is handed to the system.

        Args:
            frame: Any JSON value; a text is sent as it is where frames are text.

        Raises:
            Unavailable: There is no connection now. An outbound event that fails with it waits, and
                is not counted as failed.
        """
        await self._runtime.call(self._target, "conn.send", {"frame": frame})


class SyncConn(ConnMembers):
    """Is the :class:`Conn` of a function that blocks."""

    __slots__ = ()

    def send(self, frame: Any) -> None:
        """Sends a frame; see :meth:`Conn.send`."""
        self._runtime.call_blocking(self._target, "conn.send", {"frame": frame})
