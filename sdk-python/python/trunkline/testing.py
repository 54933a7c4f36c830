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
from typing import Any, NamedTuple, Protocol

from . import _core
from ._client import Client
from ._context import Sending
from ._duration import Duration, duration, given
from ._errors import TrunklineError
from ._event import Event, event_of
from ._members import Published
from ._plugin import Plugin
from ._runtime import Runtime
from ._tool import ToolCall

__all__ = ["StartBroker", "TestBroker", "WebhookAnswer"]


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
            manifest: A ``plugin.toml`` whose grants it gets; else it may do what its handlers need.
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
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        id: str | None = None,
        instance: str | None = None,
        query: str | None = None,
        session: str | None = None,
    ) -> WebhookAnswer:
        """Sends a provider's request to a webhook, as the daemon stores what it has verified.

        Args:
            kind: The channel's kind.
            json: The body, as JSON.
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
        self, filter: str, payload: Any = None, *, within: Duration = "10s"
    ) -> Event[Any]:
        """Waits for an event on a topic, and gives it. Each event is given once.

        Args:
            filter: The topic, with ``*`` and ``>``.
            payload: Members that its payload has at least.
            within: How far the clock may move until it comes.

        Raises:
            AssertionError: None came; the text says what came instead.
        """
        args = {"filter": filter, "within": duration(within), **given(payload=payload)}
        return event_of(await self._call("expect_published", args))

    async def expect_nothing(self, filter: str, payload: Any = None, *, within: Duration) -> None:
        """Makes sure that no such event comes while the clock moves.

        Raises:
            AssertionError: One came.
        """
        args = {"filter": filter, "within": duration(within), **given(payload=payload)}
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
