"""Plugins and clients against the real core, in memory: nothing outside, and a clock that moves only
when it is told.

With pytest, take the fixture ``test_broker``; an ``async def`` test that takes it is run without
another plugin::

    async def test_it_echoes(test_broker):
        broker = await test_broker(plugin)
        await broker.send("echo", "hi", to="c1")
        answer = await broker.expect_published("plugin.inbound.echo.*", within="5s")
        assert answer.payload["text"] == "hi"

Handlers see real time: their own timers and timeouts are not moved.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from json import loads
from typing import Any, NamedTuple, Protocol, cast

from . import _core
from ._client import Client
from ._context import Sending
from ._duration import Duration, duration, given
from ._errors import TrunklineError
from ._event import Event, event_of
from ._members import Published
from ._plugin import Plugin
from ._runtime import Runtime
from ._sockets import SocketClosed, SocketConn, SocketFake
from ._tool import ToolCall

__all__ = [
    "HttpFake",
    "HttpRoute",
    "HttpSeen",
    "SocketClosed",
    "SocketConn",
    "SocketFake",
    "StartBroker",
    "TestBroker",
    "WebhookAnswer",
    "play",
]


class WebhookAnswer(NamedTuple):
    """Is what a webhook's provider gets."""

    status: int
    """200 once the request is durable, 202 where the plugin was too slow to answer itself."""
    headers: dict[str, str]
    """The plugin's own headers."""
    body: str | None
    """The plugin's own body."""
    duplicate: bool
    """The request's id was known: it was not stored again."""


class HttpSeen:
    """Is a request that a plugin sent."""

    __slots__ = ("_seen",)

    def __init__(self, seen: Mapping[str, Any]) -> None:
        self._seen = seen

    def __repr__(self) -> str:
        return f"HttpSeen({self.method} {self.url})"

    @property
    def method(self) -> str:
        """The method."""
        return str(self._seen["method"])

    @property
    def url(self) -> str:
        """The whole address."""
        return str(self._seen["url"])

    @property
    def path(self) -> str:
        """Its path."""
        return str(self._seen["path"])

    @property
    def query(self) -> dict[str, str]:
        """The pairs of its query."""
        return cast("dict[str, str]", self._seen["query"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers, their names in small letters."""
        return cast("dict[str, str]", self._seen["headers"])

    @property
    def body(self) -> bytes:
        """The body."""
        if "body" in self._seen:
            return str(self._seen["body"]).encode()
        return base64.b64decode(self._seen["body_base64"])

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return cast("dict[str, str]", self._seen["form"])

    def json(self) -> Any:
        """Reads the body as JSON."""
        return loads(self.body)


class HttpRoute:
    """Is what a server answers to some requests, one after the other; the last answer stays."""

    __slots__ = ("_runtime", "_handle", "_route")

    def __init__(self, runtime: Runtime, handle: int, route: int) -> None:
        self._runtime = runtime
        self._handle = handle
        self._route = route

    def reply(
        self,
        status: int,
        *,
        json: Any = None,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpRoute:
        """Answers with a status."""
        args: dict[str, Any] = {"status": status, "headers": dict(headers or {})}
        if isinstance(body, bytes):
            args["body_base64"] = base64.b64encode(body).decode()
        elif body is not None:
            args["body"] = body
        return self._tell("http.reply", **args, **given(json=json))

    def lose(self) -> HttpRoute:
        """Takes the request, and never answers."""
        return self._tell("http.lose")

    def refuse(self) -> HttpRoute:
        """Lets nobody connect."""
        return self._tell("http.refuse")

    @property
    def requests(self) -> list[HttpSeen]:
        """The requests that came, oldest first."""
        found = self._runtime.tell(self._handle, "http.requests", {"route": self._route})
        return [HttpSeen(each) for each in found]

    def _tell(self, name: str, **args: Any) -> HttpRoute:
        self._runtime.tell(self._handle, name, {"route": self._route, **args})
        return self


class HttpFake:
    """Is a server outside, as a test plays it."""

    __slots__ = ("_runtime", "_handle", "_server")

    def __init__(self, runtime: Runtime, handle: int, server: str) -> None:
        self._runtime = runtime
        self._handle = handle
        self._server = server

    def on(self, method: str, path: str) -> HttpRoute:
        """Begins the answers to some requests. Where several fit, the one added last answers.

        Args:
            method: The method, ``*`` for any.
            path: The path, in which ``*`` is any text.
        """
        args = {"server": self._server, "method": method, "path": path}
        route = self._runtime.tell(self._handle, "http.on", args)
        return HttpRoute(self._runtime, self._handle, route)

    def pass_through(self) -> None:
        """Lets requests to this server out, for a test that runs one of its own."""
        self._runtime.tell(self._handle, "http.pass_through", {"server": self._server})


class TestBroker:
    """A broker in memory with a plugin on it. Start one with :meth:`start`."""

    __test__ = False

    def __init__(self, runtime: Runtime, plugin: Plugin[Any], handle: int, client: Client) -> None:
        self._runtime = runtime
        self._plugin = plugin
        self._handle = handle
        self.client = client
        """The client that the test speaks through."""

    @classmethod
    async def start(
        cls,
        plugin: Plugin[Any],
        *,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        instances: Sequence[str] | None = None,
        manifest: str | None = None,
    ) -> TestBroker:
        """Starts a broker with a plugin.

        Args:
            plugin: The plugin under test.
            config: The config of its instances.
            secrets: Values of secrets that the config names as ``{"$secret": name}``.
            instances: Runs these instances instead of ``default`` alone.
            manifest: A ``plugin.toml`` whose grants and config defaults it gets; else it may do what its
                handlers need.
        """
        runtime = Runtime.current()
        runtime.enter()
        try:
            args = {
                "plugin": plugin.bind(runtime),
                **given(
                    config=config,
                    secrets=secrets,
                    instances=None if instances is None else list(instances),
                    manifest=manifest,
                ),
            }
            runtime.tested = plugin
            found = await _checked(runtime, 0, "testing.start", args)
        except BaseException:
            plugin.unbind()
            runtime.leave()
            raise
        client = Client("test")
        client.adopt(runtime, found["client"])
        return cls(runtime, plugin, found["broker"], client)

    async def stop(self) -> None:
        """Ends the plugin and the broker."""
        runtime = self._runtime
        try:
            await runtime.call(self._handle, "stop", {})
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Lets go of the broker; for when its loop is gone."""
        self.client.unbind()
        self._plugin.unbind()
        self._runtime.leave()

    async def attach(self, client: Client) -> Client:
        """Connects an agent, with its handlers."""
        await self._call("attach", {"client": client.bind(self._runtime)})
        return client

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
    ) -> Published:
        """Publishes an event; see :meth:`Context.publish`."""
        return await self.client.publish(
            topic,
            payload,
            session=session,
            id=id,
            correlation=correlation,
            expires=expires,
            ephemeral=ephemeral,
            metadata=metadata,
        )

    async def send(
        self,
        kind: str,
        message: Any,
        *,
        to: str | None = None,
        instance: str | None = None,
        id: str | None = None,
    ) -> Sending:
        """Sends a message through a channel of the plugin."""
        return await self.client.send(kind, message, to=to, instance=instance, id=id)

    async def webhook(
        self,
        kind: str,
        *,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        id: str | None = None,
        instance: str | None = None,
        query: str | None = None,
        session: str | None = None,
    ) -> WebhookAnswer:
        """Sends a provider's request to a webhook, signed with the secret of the config.

        Args:
            kind: The channel's kind.
            json: The body, as JSON.
            form: The body, as a form: texts and numbers.
            body: The body, where it is something else.
            headers: HTTP headers.
            name: Which of the kind's webhooks.
            id: The provider's id; the same twice is one request.
            instance: Another one than ``default``.
            query: What stands after ``?``.
            session: Requests of one session are handled in order.
        """
        if json is not None:
            body = _core.dumps(json).decode()
            headers = {"content-type": "application/json", **(headers or {})}
        request: dict[str, Any] = given(
            kind=kind, name=name, id=id, instance=instance, query=query, session=session
        )
        if form is not None:
            request["form"] = dict(form)
        request["headers"] = {word.lower(): value for word, value in (headers or {}).items()}
        if isinstance(body, bytes):
            request["body_base64"] = base64.b64encode(body).decode()
        elif body is not None:
            request["body"] = body
        return WebhookAnswer(**await self._call("webhook", request))

    def call_tool(
        self,
        name: str,
        arguments: Any = None,
        *,
        timeout: Duration | None = None,
        instance: str | None = None,
        idempotency_key: str | None = None,
    ) -> ToolCall:
        """Calls a tool of the plugin, by its full name; see :meth:`Context.call_tool`."""
        return self.client.call_tool(
            name,
            arguments,
            timeout=timeout,
            instance=instance,
            idempotency_key=idempotency_key,
        )

    async def expect_published(
        self, filter: str, payload: Any = None, *, within: Duration | None = None
    ) -> Event[Any]:
        """Waits for an event on a topic, and gives it. Each event is given once.

        Args:
            filter: The topic, with ``*`` and ``>``.
            payload: Members that its payload has at least.
            within: How far the clock may move until it comes (10 s).

        Raises:
            AssertionError: None came; the text says what came instead.
        """
        args = {"filter": filter, **given(payload=payload, within=duration(within))}
        return event_of(await self._call("expect_published", args))

    async def expect_nothing(
        self, filter: str, payload: Any = None, *, within: Duration | None = None
    ) -> None:
        """Makes sure that no such event comes while the clock moves by ``within`` (10 s).

        Raises:
            AssertionError: One came.
        """
        args = {"filter": filter, **given(payload=payload, within=duration(within))}
        await self._call("expect_nothing", args)

    async def advance(self, by: Duration) -> None:
        """Moves the clock, and lets everything happen that is due."""
        await self._call("advance", {"by": duration(by)})

    async def settle(self) -> None:
        """Waits until everything that was sent has been handled; the clock stands still."""
        await self._call("settle", {})

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Gives the dead letters, oldest first."""
        found: list[dict[str, Any]] = await self._call("dead_letters", {})
        return found

    async def restart(self) -> None:
        """Kills the broker and starts it again on what was durable."""
        await self._call("restart", {})

    def http(self, server: str) -> HttpFake:
        """Gives a server outside, whose answers are the test's.

        Nothing leaves the process: a call that no answer was given for fails the test.

        Args:
            server: Its address; a path in it is part of every path.
        """
        return HttpFake(self._runtime, self._handle, server)

    def socket(self, url: str) -> SocketFake:
        """Gives a server of connections outside, as the test plays it.

        Nothing leaves the process: a plugin that connects to where nobody plays, but on this machine,
        fails the test as soon as the clock moves.

        Args:
            url: Its address, ``wss:``, ``https:``, ``tls:`` or ``tcp:``; a path is the start of the
                paths it serves. Where several fit, the one that was added last is connected to.
        """
        return SocketFake(self._runtime, self._handle, self._call, url)

    def kill(self, *, at: str) -> None:
        """Kills the plugin's process at the next event that it handles; it is started again.

        Args:
            at: ``"in_handler"``, ``"before_commit"`` or ``"after_commit"``.
        """
        self._runtime.tell(self._handle, "kill", {"at": at})

    def fault(self, fault: str, times: int = 1) -> None:
        """Lets a fault happen the next so many times.

        Args:
            fault: ``"drop_ack"``, ``"duplicate"``, ``"link_lost"`` or ``"storage_full"``.
            times: How often.
        """
        self._runtime.tell(self._handle, "fault", {"fault": fault, "times": times})

    async def _call(self, name: str, args: dict[str, Any]) -> Any:
        return await _checked(self._runtime, self._handle, name, args)


async def _checked(runtime: Runtime, target: int, name: str, args: dict[str, Any]) -> Any:
    try:
        found = await runtime.call(target, name, args)
        if not runtime.misuses:
            return found
        failed = AssertionError("; ".join(runtime.misuses))
        runtime.misuses.clear()
    except TrunklineError as error:
        if error.code != "internal":
            raise
        failed = AssertionError(error.message)
    raise failed


async def play(plugin: Plugin[Any], scenario: str) -> list[dict[str, Any]]:
    """Plays a scenario against a plugin; gives the transcript, which is what the file says.

    A scenario is a text of JSON: settings, what servers outside answer, steps with what is seen after
    each, and what is kept and given up in the end. The same text is played in every language.

    Args:
        plugin: The plugin under test.
        scenario: The text of the scenario's file.

    Raises:
        AssertionError: Something differs; the message says the first that does.
        InvalidArguments: It is no scenario.
    """
    runtime = Runtime.current()
    runtime.enter()
    try:
        args = {"plugin": plugin.bind(runtime), "scenario": scenario}
        runtime.tested = plugin
        played: list[dict[str, Any]] = await _checked(runtime, 0, "testing.play", args)
        return played
    finally:
        plugin.unbind()
        runtime.leave()


class StartBroker(Protocol):
    """Is the fixture ``test_broker``: starts a broker that ends with the test."""

    async def __call__(
        self,
        plugin: Plugin[Any],
        *,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        instances: Sequence[str] | None = None,
        manifest: str | None = None,
    ) -> TestBroker:
        """Starts a broker with a plugin; see :meth:`TestBroker.start`."""
        ...


class Brokers:
    """Starts brokers, and ends them with the test."""

    def __init__(self) -> None:
        self._started: list[tuple[TestBroker, asyncio.AbstractEventLoop]] = []

    async def __call__(self, plugin: Plugin[Any], **options: Any) -> TestBroker:
        broker = await TestBroker.start(plugin, **options)
        self._started.append((broker, asyncio.get_running_loop()))
        return broker

    async def stop(self) -> None:
        """Ends what was started."""
        while self._started:
            await self._started.pop()[0].stop()

    def abandon(self) -> None:
        """Lets go of what another runner's loop left."""
        while self._started:
            self._started.pop()[0].abandon()
