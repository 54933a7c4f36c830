"""Errors: one catalogue for all languages, one class per code.

Texts are made by the core. What is not here: failures of a handler that are no errors of the
catalogue; they stay the exceptions they are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, cast

from . import _core


class TrunklineError(Exception):
    """Says what went wrong: a stable ``code`` for programs, a message for people.

    Each code has a class of its own::

        >>> from trunkline import StorageFull, TrunklineError
        >>> issubclass(StorageFull, TrunklineError), StorageFull.code
        (True, 'storage_full')
    """

    code: ClassVar[str] = "internal"
    """What programs compare."""

    message: str
    """What people read."""
    retry_after: timedelta | None
    """After how long a retry makes sense."""
    detail: Any
    """Data for programs beyond the code."""

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: timedelta | None = None,
        detail: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.detail = detail

    @property
    def retryable(self) -> bool:
        """Says whether the same request may succeed later without being changed."""
        detail: Any = self.detail
        if self.code in ("tool_failed", "http_error") and isinstance(detail, dict):
            # A tool says so of its own failures, and a call outside of what it was answered.
            return cast("dict[str, Any]", detail).get("retryable") is True
        return _RETRYABLE.get(self.code, False)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (type(self), self.message, self.retry_after, self.detail))


class TopicNotGranted(TrunklineError):
    """The peer has no grant for this topic."""

    code = "topic_not_granted"


class InvalidTopic(TrunklineError):
    """The topic or topic filter is malformed."""

    code = "invalid_topic"


class InvalidFrame(TrunklineError):
    """The frame or envelope is malformed."""

    code = "invalid_frame"


class FrameTooLarge(TrunklineError):
    """The frame or event is over its size limit."""

    code = "frame_too_large"


class Unrouted(TrunklineError):
    """No single instance can be chosen for this."""

    code = "unrouted"


class IdConflict(TrunklineError):
    """The id is already stored with another body."""

    code = "id_conflict"


class RevisionConflict(TrunklineError):
    """The key has another revision."""

    code = "revision_conflict"


class LockLost(TrunklineError):
    """The lock is no longer held with this token."""

    code = "lock_lost"


class RateLimited(TrunklineError):
    """The publish or request rate is exceeded."""

    code = "rate_limited"


class StorageFull(TrunklineError):
    """The store has no room."""

    code = "storage_full"


class Draining(TrunklineError):
    """The broker is shutting down."""

    code = "draining"


class StaleGeneration(TrunklineError):
    """A newer activation of the instance exists."""

    code = "stale_generation"


class StaleLease(TrunklineError):
    """The delivery's lease is no longer valid."""

    code = "stale_lease"


class InstanceBusy(TrunklineError):
    """The instance already has a link."""

    code = "instance_busy"


class NotActive(TrunklineError):
    """The instance is not activated."""

    code = "not_active"


class ProtocolMismatch(TrunklineError):
    """The protocol version ranges do not overlap."""

    code = "protocol_mismatch"


class Gap(TrunklineError):
    """What was asked for is no longer kept."""

    code = "gap"


class ToolNotFound(TrunklineError):
    """No such tool is declared."""

    code = "tool_not_found"


class Unavailable(TrunklineError):
    """The callee exists but is not serving."""

    code = "unavailable"


class NotFound(TrunklineError):
    """There is no such thing."""

    code = "not_found"


class NotImplemented(TrunklineError):
    """The method exists in no form here."""

    code = "not_implemented"


class InvalidArguments(TrunklineError):
    """The arguments do not fit the method or schema."""

    code = "invalid_arguments"


class ToolFailed(TrunklineError):
    """The tool ran and reported a failure."""

    code = "tool_failed"


class OutcomeUnknown(TrunklineError):
    """It may or may not have happened, and is not repeated."""

    code = "outcome_unknown"


class TimedOut(TrunklineError):
    """The time allowed is over."""

    code = "timed_out"


class Cancelled(TrunklineError):
    """The caller cancelled it."""

    code = "cancelled"


class QuotaExceeded(TrunklineError):
    """A quota of this peer is used up."""

    code = "quota_exceeded"


class LockHeld(TrunklineError):
    """Another holder has the lock."""

    code = "lock_held"


class Unauthorized(TrunklineError):
    """The token is missing, unknown or lacks the scope."""

    code = "unauthorized"


class LinkLost(TrunklineError):
    """The link closed before the answer came."""

    code = "link_lost"


class DeclarationConflict(TrunklineError):
    """The handshake contradicts the manifest."""

    code = "declaration_conflict"


class ProtocolViolation(TrunklineError):
    """The peer broke the protocol and the link is closed."""

    code = "protocol_violation"


class HttpError(TrunklineError):
    """A remote server answered with an error.

    Or with nothing at all. Left to itself, it settles what is being handled: what the server told to
    wait for waits and does not count, what may go better later backs off, the rest is final.
    """

    code = "http_error"

    def _said(self, name: str) -> Any:
        detail: Any = self.detail
        return cast("dict[str, Any]", detail).get(name) if isinstance(detail, dict) else None

    @property
    def status(self) -> int | None:
        """The status of the answer."""
        return cast("int | None", self._said("status"))

    @property
    def class_(self) -> str:
        """How far the call came: ``not_sent``, ``ambiguous`` (sent, no answer), ``answered``."""
        return str(self._said("class") or "not_sent")

    @property
    def url(self) -> str:
        """Where the call went, without its query and without what came from the config."""
        return str(self._said("url") or "")

    @property
    def body(self) -> str | None:
        """The beginning of the answer's body."""
        return cast("str | None", self._said("body"))


class ConfigInvalid(TrunklineError):
    """The configuration is not valid."""

    code = "config_invalid"


class InvalidPayload(TrunklineError):
    """The payload does not fit its declared type."""

    code = "invalid_payload"


class InvalidReturn(TrunklineError):
    """A handler returned what its declaration excludes."""

    code = "invalid_return"


class DeliveryFailed(TrunklineError):
    """The platform refused the outbound message."""

    code = "delivery_failed"


class DeliveryUnknown(TrunklineError):
    """The platform's answer to the outbound message was lost."""

    code = "delivery_unknown"


class Internal(TrunklineError):
    """A defect; nothing was promised."""

    code = "internal"


_CLASSES: dict[str, type[TrunklineError]] = {
    kind.code: kind for kind in TrunklineError.__subclasses__()
}
_RETRYABLE = {code: retryable for code, retryable, _ in _core.codes()}
_EXIT = {code: status for code, _, status in _core.codes()}


def exit_status(error: TrunklineError) -> int:
    """Gives the exit status of a program that fails with this error."""
    return max(_EXIT.get(error.code, 70), 1)


def _again(
    kind: type[TrunklineError], message: str, retry_after: timedelta | None, detail: Any
) -> TrunklineError:
    return kind(message, retry_after=retry_after, detail=detail)


def from_core(
    code: str, message: str, retry_after_ms: int | None = None, detail: Any = None
) -> TrunklineError:
    """Makes the exception of an error of the core; called by the extension."""
    kind = _CLASSES.get(code, TrunklineError)
    after = None if retry_after_ms is None else timedelta(milliseconds=retry_after_ms)
    return kind(message, retry_after=after, detail=detail)


def to_core(error: TrunklineError) -> dict[str, Any]:
    """Gives the form in which the core takes an error back."""
    made: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.retry_after is not None:
        made["retry_after_ms"] = round(error.retry_after.total_seconds() * 1000)
    if error.detail is not None:
        made["detail"] = error.detail
    return made
