"""Requests of webhooks, as the daemon verified and stored them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, cast

from ._outcome import Reject


class WebhookRequest:
    """Is a request that the daemon verified and stored.

    Args:
        request: Its JSON form: ``id name method path query headers body body_base64``.

    Example:
        >>> from trunkline import WebhookRequest
        >>> headers = {"x-github-event": "issues"}
        >>> request = WebhookRequest({"id": "1", "headers": headers, "body": '{"n": 7}'})
        >>> request.headers["x-github-event"], request.json()["n"]
        ('issues', 7)
    """

    __slots__ = ("_request",)

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request

    def __repr__(self) -> str:
        return f"WebhookRequest({self.method} {self.path}, id {self.id!r})"

    @property
    def id(self) -> str:
        """The provider's id of it, else the event's."""
        return str(self._request["id"])

    @property
    def name(self) -> str | None:
        """Which of the kind's webhooks it came by, where they have names."""
        return cast("str | None", self._request.get("name"))

    @property
    def method(self) -> str:
        """HTTP method, in capitals."""
        return str(self._request.get("method", ""))

    @property
    def path(self) -> str:
        """The path it was sent to."""
        return str(self._request.get("path", ""))

    @property
    def query(self) -> str:
        """What stands after ``?``."""
        return str(self._request.get("query", ""))

    @property
    def headers(self) -> dict[str, str]:
        """Headers by their names in small letters; several of one name are joined by ``, ``."""
        return cast("dict[str, str]", self._request.get("headers", {}))

    @property
    def body(self) -> bytes:
        """The exact bytes of the body."""
        text = self._request.get("body")
        if text is not None:
            return cast("str", text).encode()
        return base64.b64decode(self._request.get("body_base64", ""))

    @property
    def text(self) -> str:
        """The body as text; a request whose body is none becomes a dead letter."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise Reject("the request's body: expected UTF-8", "invalid_payload") from None

    def json(self) -> Any:
        """Reads the body as JSON; a request whose body is none becomes a dead letter."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            text = f"the request's body: expected JSON: {error}"
            raise Reject(text, "invalid_payload") from None
