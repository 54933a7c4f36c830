"""Servers of long-running connections, as a test plays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

from ._duration import Duration, duration, given
from ._runtime import Runtime


class Caller(Protocol):
    """Performs a call of the test broker."""

    async def __call__(self, name: str, args: dict[str, Any]) -> Any: ...


class SocketClosed(NamedTuple):
    """Is how a connection ended."""

    code: int | None
    """The code of a WebSocket."""
    reason: str
    """Why."""


class SocketConn:
    """Is a connection of the plugin, from the other side."""

    __slots__ = ("_runtime", "_handle", "_call", "_conn", "_accepted")

    def __init__(
        self, runtime: Runtime, handle: int, call: Caller, accepted: Mapping[str, Any]
    ) -> None:
        self._runtime = runtime
        self._handle = handle
        self._call = call
        self._conn: int = accepted["conn"]
        self._accepted = accepted

    def __repr__(self) -> str:
        return f"SocketConn({self.url})"

    @property
    def url(self) -> str:
        """The address that the plugin asked for."""
        return str(self._accepted["url"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of its request, their names in small letters.

        Of an event stream, ``last-event-id`` is what it goes on from. Lines have none.
        """
        return cast("dict[str, str]", self._accepted["headers"])

    def send(self, frame: Any) -> None:
        """Sends a frame.

        Args:
            frame: JSON; a text for frames of text and for lines, base64 for frames of bytes. On an event
                stream what the handler gets, ``{event, id, data}``, with ``retry`` in milliseconds
                besides, or else the data alone.
        """
        self._tell("socket.send", frame=frame)

    async def expect(
        self, frame: Any | Callable[[Any], object], *, within: Duration | None = None
    ) -> Any:
        """Waits for a frame of the plugin, and gives it. Each frame is given once.

        Args:
            frame: Members that it has at least, a text, or a function that says yes to it.
            within: How far the clock may move until it comes (10 s).

        Raises:
            AssertionError: None came; the text says what came instead.
        """
        left: Any = duration(within)
        if not callable(frame):
            args = {"conn": self._conn, "frame": frame, **given(within=left)}
            return await self._call("socket.expect", args)
        after = 0
        while True:
            args = {"conn": self._conn, "after": after, **given(within=left)}
            found = await self._call("socket.next", args)
            after, left = found["number"], {"ms": found["left_ms"]}
            if frame(found["frame"]):
                self._tell("socket.take", number=after)
                return found["frame"]

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes the connection: a WebSocket with this code and reason."""
        self._tell("socket.close", code=code, reason=reason)

    def stall(self) -> None:
        """Falls silent: nothing arrives any more, and nothing is answered."""
        self._tell("socket.stall")

    async def expect_closed(self, *, within: Duration | None = None) -> SocketClosed:
        """Waits for the plugin to close the connection.

        Raises:
            AssertionError: It did not.
        """
        args = {"conn": self._conn, **given(within=duration(within))}
        return SocketClosed(**await self._call("socket.expect_closed", args))

    def _tell(self, name: str, **args: Any) -> None:
        self._runtime.tell(self._handle, name, {"conn": self._conn, **args})


class SocketFake:
    """Is a server of connections outside, as a test plays it.

    A plugin that connects to it waits until its connection is accepted.
    """

    __slots__ = ("_runtime", "_handle", "_call", "_server")

    def __init__(self, runtime: Runtime, handle: int, call: Caller, url: str) -> None:
        self._runtime = runtime
        self._handle = handle
        self._call = call
        self._server: int = runtime.tell(handle, "socket.serve", {"url": url})

    async def accept(self, *, within: Duration | None = None) -> SocketConn:
        """Waits for the plugin's next connection, and accepts it.

        Args:
            within: How far the clock may move until it comes (10 s).

        Raises:
            AssertionError: None came; the text says what the plugin waits for instead.
        """
        args = {"server": self._server, **given(within=duration(within))}
        accepted = await self._call("socket.accept", args)
        return SocketConn(self._runtime, self._handle, self._call, accepted)
