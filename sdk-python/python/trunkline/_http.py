"""Calls to HTTP servers outside, for coroutines and for threads. The client is the core's."""

from __future__ import annotations

import base64
import json as _json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._blob import BlobRef, blob_id, blob_of
from ._duration import Duration, duration, given
from ._errors import InvalidPayload

if TYPE_CHECKING:
    from ._runtime import Runtime

    Blob = BlobRef | str
    Uploaded = Blob | Mapping[str, Blob | tuple[str, Blob]]

_Bytes = bytes
_NOTHING: Any = object()


class Response:
    """Is what a server answered, below 400."""

    __slots__ = ("_found",)

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found

    def __repr__(self) -> str:
        return f"Response({self.status})"

    @property
    def status(self) -> int:
        """The status."""
        return int(self._found["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Headers by their names in small letters; several of one name are joined by ``, ``."""
        headers: dict[str, str] = self._found["headers"]
        return headers

    @property
    def moved_to(self) -> str | None:
        """Where the resource is from now on, when the server said so by permanent redirects."""
        moved: str | None = self._found["moved_to"]
        return moved

    def bytes(self) -> _Bytes:
        """The body."""
        text: str | None = self._found.get("body")
        if text is not None:
            return text.encode()
        return base64.b64decode(self._found["body_base64"])

    def text(self) -> str:
        """The body as text; what is no UTF-8 becomes replacement characters."""
        return self.bytes().decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            InvalidPayload: The body is no JSON.
        """
        try:
            return _json.loads(self.text())
        except ValueError as error:
            text = f"the answer ({self.status}) does not fit: {error}"
            raise InvalidPayload(text) from None


def _at(
    base: str,
    bearer: str | None,
    basic: tuple[str, str] | None,
    headers: Mapping[str, str] | None,
    guard: bool,
) -> dict[str, Any]:
    return {
        "base": base,
        "guard": guard,
        **given(
            bearer=bearer,
            basic=None if basic is None else list(basic),
            headers=None if headers is None else dict(headers),
        ),
    }


def _args(
    at: dict[str, Any],
    method: str,
    path: str,
    json: Any,
    form: Mapping[str, Any] | None,
    body: str | bytes | None,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    timeout: Duration | None,
    idempotency_key: str | None,
) -> dict[str, Any]:
    args: dict[str, Any] = {"at": at, "method": method, "path": path}
    if json is not _NOTHING:
        args["json"] = json
    if isinstance(body, str):
        args["body"] = body
    elif body is not None:
        args["body_base64"] = base64.b64encode(body).decode()
    args.update(
        given(
            form=None if form is None else dict(form),
            query=None if query is None else dict(query),
            headers=None if headers is None else dict(headers),
            timeout=duration(timeout),
            idempotency_key=idempotency_key,
        )
    )
    return args


def _common(
    at: dict[str, Any],
    path: str,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    timeout: Duration | None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "at": at,
        "path": path,
        **given(
            query=None if query is None else dict(query),
            headers=None if headers is None else dict(headers),
            timeout=duration(timeout),
            **more,
        ),
    }


def _download(
    at: dict[str, Any],
    path: str,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    timeout: Duration | None,
    max_bytes: int | None,
    media_type: str | None,
) -> dict[str, Any]:
    return _common(at, path, query, headers, timeout, max_bytes=max_bytes, media_type=media_type)


def _field(name: str, blob: BlobRef | str | tuple[str, BlobRef | str]) -> dict[str, Any]:
    if isinstance(blob, tuple):
        file_name, blob = blob
        return {"field": name, "file_name": file_name, **blob_id(blob)}
    return {"field": name, **blob_id(blob)}


def _upload(
    at: dict[str, Any],
    path: str,
    blob: Uploaded,
    method: str | None,
    form: Mapping[str, Any] | None,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    timeout: Duration | None,
    idempotency_key: str | None,
) -> dict[str, Any]:
    args = _common(
        at,
        path,
        query,
        headers,
        timeout,
        method=method,
        form=None if form is None else dict(form),
        idempotency_key=idempotency_key,
    )
    if isinstance(blob, Mapping):
        args["blobs"] = [_field(name, one) for name, one in blob.items()]
    else:
        args["blob"] = blob_id(blob)["id"]
    return args


class HttpAt:
    """Makes calls to one server, as one caller. It can be kept as long as its context."""

    __slots__ = ("_runtime", "_target", "_at")

    def __init__(self, runtime: Runtime, target: int, at: dict[str, Any]) -> None:
        self._runtime = runtime
        self._target = target
        self._at = at

    def __repr__(self) -> str:
        return f"HttpAt({self._at.get('base', '')!r})"

    async def request(
        self,
        method: str,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Makes a call. Nothing given here is filled in from the config.

        A GET, and a call with a key, is tried again within the time that is left for what is being
        handled.

        Args:
            method: The method.
            path: What follows the base; a whole URL where there is none.
            json: A JSON body.
            form: A form as the body: texts, numbers, booleans, or lists of these.
            body: Any other body; say what it is with the header ``content-type``.
            query: What is added to the query, as for a form.
            headers: Headers.
            timeout: How long one try may take (30 s).
            idempotency_key: Sent as ``Idempotency-Key``: the server does it once.

        Raises:
            HttpError: The answer was 400 or up, or there was none.
        """
        args = _args(
            self._at, method, path, json, form, body, query, headers, timeout, idempotency_key
        )
        return Response(await self._runtime.call(self._target, "http", args))

    async def get(
        self,
        path: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
    ) -> Response:
        """Gets what is at a path; see :meth:`request`."""
        return await self.request("GET", path, query=query, headers=headers, timeout=timeout)

    async def post(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Posts to a path; see :meth:`request`."""
        return await self.request(
            "POST",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    async def put(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Puts to a path; see :meth:`request`."""
        return await self.request(
            "PUT",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    async def patch(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Patches what is at a path; see :meth:`request`."""
        return await self.request(
            "PATCH",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    async def delete(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Deletes what is at a path; see :meth:`request`."""
        return await self.request(
            "DELETE",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    async def download(
        self,
        path: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        max_bytes: int | None = None,
        media_type: str | None = None,
    ) -> BlobRef:
        """Makes what is at a path a blob, piece by piece; tried again as a GET is.

        Args:
            path: What follows the base; a whole URL where there is none.
            query: What is added to the query, as for a form.
            headers: Headers.
            timeout: How long one try may take (10 min).
            max_bytes: The most bytes, unpacked (100 MiB); more is an error that is final.
            media_type: What it is, whatever the server says.

        Raises:
            HttpError: The answer was 400 or up, or too long, or there was none.
            QuotaExceeded: Too much is kept already.
            StorageFull: The disk has no room.
        """
        args = _download(self._at, path, query, headers, timeout, max_bytes, media_type)
        return blob_of(await self._runtime.call(self._target, "http.download", args))

    async def upload(
        self,
        path: str,
        blob: Uploaded,
        *,
        method: str | None = None,
        form: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Posts a blob piece by piece: as the body, or as fields of a form of parts.

        Example:
            >>> from trunkline import BlobRef, Context
            >>> async def show(photo: BlobRef, ctx: Context) -> None:
            ...     api = ctx.http.at("https://api.example.com/bot{config.token}")
            ...     await api.upload("/files", photo, method="PUT")
            ...     await api.upload("/sendPhoto", {"photo": ("cat.jpg", photo)}, form={"chat": 7})

        Args:
            path: What follows the base; a whole URL where there is none.
            blob: The body; or fields of a ``multipart/form-data`` form, each a blob, or the name of
                its file and the blob.
            method: Another method than POST.
            form: More fields of the form, before the blobs.
            query: What is added to the query, as for a form.
            headers: Headers; ``content-type`` is the blob's unless given.
            timeout: How long one try may take (10 min).
            idempotency_key: Sent as ``Idempotency-Key``: the server does it once.

        Raises:
            HttpError: The answer was 400 or up, or there was none.
            NotFound: There is no such blob, or this peer may not read it.
        """
        args = _upload(self._at, path, blob, method, form, query, headers, timeout, idempotency_key)
        return Response(await self._runtime.call(self._target, "http.upload", args))


class Http(HttpAt):
    """Makes calls to servers outside; each call by itself takes a whole URL.

    Example:
        >>> from trunkline import Context, Json
        >>> async def lookup(id: str, ctx: Context) -> Json:
        ...     api = ctx.http.at("https://api.example.com/v1", bearer="{config.api_key}")
        ...     return (await api.get(f"/users/{id}")).json()
    """

    __slots__ = ()

    def __init__(self, runtime: Runtime, target: int) -> None:
        super().__init__(runtime, target, {})

    def at(
        self,
        base: str,
        *,
        bearer: str | None = None,
        basic: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        guard: bool = False,
    ) -> HttpAt:
        """Begins calls to a server. ``{config.key}`` in what is given is filled in from the config.

        Args:
            base: Its address.
            bearer: A token, sent as ``Authorization: Bearer``.
            basic: User and password.
            headers: Headers of each call.
            guard: Calls public addresses only: for URLs that come from outside.
        """
        return HttpAt(self._runtime, self._target, _at(base, bearer, basic, headers, guard))


class SyncHttpAt:
    """Makes calls to one server, and waits for the answers; see :class:`HttpAt`."""

    __slots__ = ("_runtime", "_target", "_at")

    def __init__(self, runtime: Runtime, target: int, at: dict[str, Any]) -> None:
        self._runtime = runtime
        self._target = target
        self._at = at

    def __repr__(self) -> str:
        return f"SyncHttpAt({self._at.get('base', '')!r})"

    def request(
        self,
        method: str,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Makes a call; see :meth:`HttpAt.request`."""
        args = _args(
            self._at, method, path, json, form, body, query, headers, timeout, idempotency_key
        )
        return Response(self._runtime.call_blocking(self._target, "http", args))

    def get(
        self,
        path: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
    ) -> Response:
        """Gets what is at a path; see :meth:`HttpAt.request`."""
        return self.request("GET", path, query=query, headers=headers, timeout=timeout)

    def post(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Posts to a path; see :meth:`HttpAt.request`."""
        return self.request(
            "POST",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    def put(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Puts to a path; see :meth:`HttpAt.request`."""
        return self.request(
            "PUT",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    def patch(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Patches what is at a path; see :meth:`HttpAt.request`."""
        return self.request(
            "PATCH",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    def delete(
        self,
        path: str = "",
        *,
        json: Any = _NOTHING,
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Deletes what is at a path; see :meth:`HttpAt.request`."""
        return self.request(
            "DELETE",
            path,
            json=json,
            form=form,
            body=body,
            query=query,
            headers=headers,
            timeout=timeout,
            idempotency_key=idempotency_key,
        )

    def download(
        self,
        path: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        max_bytes: int | None = None,
        media_type: str | None = None,
    ) -> BlobRef:
        """Makes what is at a path a blob; see :meth:`HttpAt.download`."""
        args = _download(self._at, path, query, headers, timeout, max_bytes, media_type)
        return blob_of(self._runtime.call_blocking(self._target, "http.download", args))

    def upload(
        self,
        path: str,
        blob: Uploaded,
        *,
        method: str | None = None,
        form: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Posts a blob; see :meth:`HttpAt.upload`."""
        args = _upload(self._at, path, blob, method, form, query, headers, timeout, idempotency_key)
        return Response(self._runtime.call_blocking(self._target, "http.upload", args))


class SyncHttp(SyncHttpAt):
    """Makes calls to servers outside, and waits for the answers; see :class:`Http`."""

    __slots__ = ()

    def __init__(self, runtime: Runtime, target: int) -> None:
        super().__init__(runtime, target, {})

    def at(
        self,
        base: str,
        *,
        bearer: str | None = None,
        basic: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        guard: bool = False,
    ) -> SyncHttpAt:
        """Begins calls to a server; see :meth:`Http.at`."""
        return SyncHttpAt(self._runtime, self._target, _at(base, bearer, basic, headers, guard))
