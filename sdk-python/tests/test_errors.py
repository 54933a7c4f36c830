"""One class per code, the same in every language."""

from __future__ import annotations

import pickle
from datetime import timedelta

import trunkline
from trunkline import LockHeld, StorageFull, TrunklineError, _core
from trunkline._errors import _CLASSES, exit_status, from_core, to_core


def test_every_code_of_the_catalogue_has_a_class() -> None:
    """Proves W16, Python part: the catalogue is the core's."""
    codes = {code for code, _, _ in _core.codes()}
    assert codes == set(_CLASSES)
    for code, retryable, status in _core.codes():
        error = from_core(code, "text")
        assert type(error).__name__ in trunkline.__all__
        assert (error.code, error.retryable, str(error)) == (code, retryable, f"{code}: text")
        assert exit_status(error) == max(status, 1)


def test_an_error_keeps_what_it_knows() -> None:
    error = from_core("lock_held", "by another", 1500, {"holder": "a/b"})
    assert isinstance(error, LockHeld)
    assert error.retry_after == timedelta(seconds=1.5)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.detail) == (LockHeld, str(error), error.detail)
    assert to_core(error) == {
        "code": "lock_held",
        "message": "by another",
        "retry_after_ms": 1500,
        "detail": {"holder": "a/b"},
    }


def test_a_code_of_a_newer_core_is_still_an_error() -> None:
    assert type(from_core("from_the_future", "text")) is TrunklineError
    assert not StorageFull("x").detail
