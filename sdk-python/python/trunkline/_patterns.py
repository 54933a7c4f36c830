"""What a plugin's handlers may be besides subscriptions: webhooks, pollers, connections, timers, assemblers.

A decorator here is data for the core and a reader for what the handler gets; what a pattern does is
the core's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from ._context import InstanceContext
from ._duration import Duration, duration, given
from ._handler import Handler, Mapper, locals_of
from ._members import C
from ._outcome import Returned
from ._part import Part
from ._poll import FeedItem, JsonList, PollAlert
from ._timer import TimerEvent, instant, schedule_args
from ._webhook import WebhookRequest

F = TypeVar("F", bound=Callable[..., Awaitable[Returned] | Returned])


class Patterns(Generic[C]):
    """Has the decorators of the patterns; a plugin is one."""

    _mappers: dict[type, Mapper]
    _patterns: dict[str, list[tuple[Handler, dict[str, Any]]]]
    _urls: dict[str, Callable[..., Any]]

    def webhook(
        self,
        kind: str,
        *,
        verify: str | None = None,
        secret: str | list[str] | None = None,
        name: str | None = None,
        respond: Duration | None = None,
        timeout: Duration | None = None,
        tolerance: Duration | None = None,
        signature: Mapping[str, Any] | None = None,
        id: str | None = None,
        session: str | None = None,
        methods: list[str] | None = None,
        body_bytes_max: int | None = None,
        content_types: list[str] | None = None,
        verify_token: str | None = None,
        origins: list[str] | None = None,
    ) -> Callable[[F], F]:
        """Registers the handler of what a provider sends; what it returns is published with the ack.

        The daemon verifies the raw bytes, stores the request and answers 2xx before. It is called
        with ``(request, ctx)``, see :class:`WebhookRequest`.

        Args:
            kind: The channel's kind, as in ``plugin.toml``.
            verify: Whose signature: ``github slack stripe standard generic`` and more; without it
                the manifest has the declaration.
            secret: One or more texts with ``{config.<key>}``; each of them is active.
            name: Tells it from others of its kind: the last part of its path.
            respond: How long the provider waits for the batch's ``ack``.
            timeout: How long handling one request may take.
            tolerance: How old, and how far ahead, a signature may be.
            signature: The signature, for ``verify="generic"``.
            id: Where the provider's id is: ``header:<name>`` or a JSON pointer.
            session: JSON pointer to what becomes the session: its requests are handled in order.
            methods: Methods taken besides POST.
            body_bytes_max: Largest body.
            content_types: Media types taken.
            verify_token: The word that Meta's GET has to bring.
            origins: Who may ask for the handshake of CloudEvents' webhooks.

        Example:
            >>> from trunkline import Event, Plugin, WebhookRequest
            >>> plugin = Plugin("github")
            >>> @plugin.webhook("github", verify="github", secret="{config.webhook_secret}")
            ... async def hook(request: WebhookRequest) -> Event | None:
            ...     if request.headers["x-github-event"] != "issues":
            ...         return None
            ...     return Event.inbound({"text": request.json()["issue"]["title"]})
        """
        options = given(
            kind=kind,
            verify=verify,
            secret=secret,
            name=name,
            respond=duration(respond),
            timeout=duration(timeout),
            tolerance=duration(tolerance),
            signature=signature,
            id=id,
            session=session,
            methods=methods,
            body_bytes_max=body_bytes_max,
            content_types=content_types,
            verify_token=verify_token,
            origins=origins,
        )
        return self._pattern("webhooks", options, WebhookRequest, locals_of(1))

    def poll(
        self,
        kind: str,
        *,
        every: Duration | None = None,
        cron: str | None = None,
        tz: str | None = None,
        at: str | datetime | None = None,
        jitter: Duration | None = None,
        misfire: str | None = None,
        timeout: Duration | None = None,
        feed: str | None = None,
        json: JsonList | None = None,
        bearer: str | None = None,
        basic: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        credential: str | None = None,
        alert: PollAlert | None = None,
    ) -> Callable[[F], F]:
        """Asks somebody else, again and again, what is new; what is returned is published in one commit.

        With ``feed`` or ``json`` the core fetches, and the function gets new items only, as
        ``(item, ctx)``: a :class:`FeedItem`, or what stands in the list. Without, it gets
        ``(cursor, ctx)``, ``None`` at first, and returns a :class:`Batch` with the next cursor.
        Texts of the server may hold ``{config.<key>}``.

        Args:
            kind: The channel's kind, as in ``plugin.toml``.
            every: How long between two ticks; ``"0s"``: again as soon as the last batch is durable.
            cron: When, as five or six cron fields.
            tz: Whose clocks, for ``cron``: an IANA zone; else UTC.
            at: Once, at this instant: RFC 3339 or a ``datetime``.
            jitter: How much later than it is due each tick may come.
            misfire: ``once``, ``skip`` or ``all``: what becomes of ticks that passed.
            timeout: How long a tick may take; 1 min unless said.
            feed: The address of an RSS, Atom or JSON Feed.
            json: A list of JSON; see :class:`JsonList`.
            bearer: Is sent as ``Authorization: Bearer``, to the declared server only.
            basic: User and password, to the declared server only.
            headers: Further ones, to the declared server only.
            credential: What no two instances ask with at once, a text with ``{config.<key>}``; without
                it, the ``unique`` keys of ``plugin.toml``, else nothing.
            alert: Whom to send a message when it pauses itself, is left alone or goes on again; see
                :class:`PollAlert`.

        Example:
            >>> from trunkline import Event, FeedItem, Plugin
            >>> plugin = Plugin("rss")
            >>> @plugin.poll("rss", feed="{config.url}", every="30m", jitter="5m")
            ... async def item(item: FeedItem) -> Event:
            ...     return Event.inbound({"text": item.title, "conversation": {"id": "news"}})
        """
        options = given(
            kind=kind,
            every=duration(every),
            cron=cron,
            tz=tz,
            at=instant(at),
            jitter=duration(jitter),
            misfire=misfire,
            timeout=duration(timeout),
            feed=feed,
            json=json,
            bearer=bearer,
            basic=basic,
            headers=headers,
            credential=credential,
            alert=alert,
        )
        return self._pattern("polls", options, Any if feed is None else FeedItem, locals_of(1))

    def connect(
        self,
        kind: str,
        *,
        url: str | Callable[[InstanceContext[C]], Any],
        idle: Duration | None = None,
        fatal: list[int] | None = None,
        backoff: tuple[Duration, Duration] | None = None,
        stable: Duration | None = None,
        heartbeat: Mapping[str, Any] | None = None,
        greeting: Sequence[Any] | None = None,
        frames: str | None = None,
        subprotocols: list[str] | None = None,
        headers: Mapping[str, str] | None = None,
        credential: str | None = None,
        timeout: Duration | None = None,
    ) -> Callable[[F], F]:
        """Keeps a connection, and registers the handler of its frames, called with ``(frame, ctx)``.

        Frames are handled in order, one at a time. What is returned is committed with its cursor; then
        the batch's ``ack`` is sent. ``Retry("0s")`` asks for another connection beside this one, a
        ``Retry`` after a time for one in its place.

        Args:
            kind: The channel's kind, as in ``plugin.toml``.
            url: ``wss:`` and ``ws:`` WebSocket, ``https:`` and ``http:`` event stream, ``tls:`` and
                ``tcp:`` lines, with ``{config.<key>}``; or a function of the context that gives it.
            idle: How long it may give no sign of life; 60 s for WebSocket.
            fatal: Codes of the server's close, or HTTP statuses, that no other attempt will change.
            backoff: Where the waits between attempts begin, and where they end.
            stable: How long a connection must have lived before the waits begin anew; 30 s.
            heartbeat: ``every``, ``frame`` and ``expect``; see :meth:`Conn.heartbeat`.
            greeting: Frames that are sent first on every connection, with ``{cursor}`` and
                ``{config.key}`` filled in; at most 8.
            frames: ``json``, ``text`` or ``binary`` (as base64); lines are text, the others JSON.
            subprotocols: What is offered above WebSocket.
            headers: Of the request, with ``{config.<key>}``.
            credential: What there may be one connection for, with ``{config.<key>}``; else the
                manifest's ``unique`` keys, else the instance.
            timeout: How long handling one frame may take.

        Example:
            >>> from trunkline import Batch, Context, Event, Json, Plugin
            >>> plugin = Plugin("chat")
            >>> @plugin.connect("chat", url="wss://gateway.example.com/v1", idle="60s", fatal=[4004])
            ... async def frame(f: Json, ctx: Context) -> Batch | None:
            ...     if f["op"] == "hello":
            ...         await ctx.conn.send({"op": "login", "resume": ctx.conn.cursor})
            ...         return None
            ...     return Batch([Event.inbound({"text": f["text"]})], cursor=f["seq"])
        """
        if callable(url):
            self._urls[kind] = url
        beat = None if heartbeat is None else {**heartbeat, "every": duration(heartbeat["every"])}
        waits = None
        if backoff is not None:
            waits = {"initial": duration(backoff[0]), "cap": duration(backoff[1])}
        options = given(
            kind=kind,
            url=None if callable(url) else url,
            idle=duration(idle),
            fatal=fatal,
            backoff=waits,
            stable=duration(stable),
            heartbeat=beat,
            greeting=None if greeting is None else list(greeting),
            frames=frames,
            subprotocols=subprotocols,
            headers=headers,
            credential=credential,
            timeout=duration(timeout),
        )
        return self._pattern("connects", options, Any, locals_of(1))

    def timer(
        self,
        name: str,
        *,
        after: Duration | None = None,
        every: Duration | None = None,
        at: str | datetime | None = None,
        cron: str | None = None,
        tz: str | None = None,
        jitter: Duration | None = None,
        misfire: str | None = None,
        data: Any = None,
        session: str | None = None,
        timeout: Duration | None = None,
    ) -> Callable[[F], F]:
        """Registers the handler of a timer, and sets the timer if it has a schedule.

        It is called with ``(timer, ctx)``, see :class:`TimerEvent`. With a schedule the timer is set
        at each start, unless it was set with the same words before: it keeps its beat over restarts.

        Args:
            name: The timer; a final ``*`` stands for all names that begin so.
            after: Once, this long from the first start.
            every: Again and again, with this interval.
            at: Once, at this instant.
            cron: Where the clocks match.
            tz: Whose clocks; else UTC.
            jitter: How much later than it is due each event may come.
            misfire: ``once``, ``skip`` or ``all``: what becomes of due times that passed.
            data: What the events bring.
            session: Which conversation the events belong to.
            timeout: How long handling one event may take.

        Example:
            >>> from trunkline import Plugin, TimerEvent
            >>> plugin = Plugin("news")
            >>> @plugin.timer("digest", cron="0 9 * * *", tz="Europe/Berlin")
            ... async def digest(timer: TimerEvent) -> None:
            ...     print(timer.due_at)
        """
        schedule = schedule_args(after, every, at, cron, tz, jitter, misfire, data, session)
        options = given(name=name, schedule=schedule or None, timeout=duration(timeout))
        return self._pattern("timers", options, TimerEvent, locals_of(1))

    def assemble(
        self,
        kind: str,
        *,
        silence: Duration | None = None,
        max_age: Duration | None = None,
        max_parts: int | None = None,
        max_bytes: int | None = None,
        timeout: Duration | None = None,
    ) -> Callable[[F], F]:
        """Registers the function that gets all parts of a whole, in order, once.

        It is called with ``(parts, ctx)``; ``ctx.assembly`` says why now, and what is missing.

        Args:
            kind: The channel's kind, as in ``plugin.toml``.
            silence: The whole is made so long after the last part; 30 s unless said.
            max_age: And so long after the first part, whatever else comes; 10 min unless said.
            max_parts: And at so many parts; 64 unless said, at most 200.
            max_bytes: And at so many bytes of parts; 4 MiB unless said.
            timeout: How long the function may take.

        Example:
            >>> from trunkline import Context, Event, Part, Plugin
            >>> plugin = Plugin("sms")
            >>> @plugin.assemble("sms", silence="30s")
            ... async def whole(parts: list[Part], ctx: Context) -> Event:
            ...     gap = "…" if ctx.assembly and ctx.assembly.missing else ""
            ...     return Event.inbound({"text": gap.join(part.data for part in parts)})
        """
        options = given(
            kind=kind,
            silence=duration(silence),
            max_age=duration(max_age),
            max_parts=max_parts,
            max_bytes=max_bytes,
            timeout=duration(timeout),
        )
        return self._pattern("assemblers", options, list[Part], locals_of(1))

    def _pattern(
        self, section: str, options: dict[str, Any], default: Any, scope: dict[str, Any]
    ) -> Callable[[F], F]:
        def register(function: F) -> F:
            handler = Handler(function, scope, self._mappers, default=default)
            self._patterns.setdefault(section, []).append((handler, options))
            return function

        return register
