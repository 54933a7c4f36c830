"""The pytest plugin: the fixture ``test_broker``, and coroutine tests that take it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import Brokers


@pytest.fixture
def test_broker() -> Iterator[Brokers]:
    """Starts brokers in memory: ``broker = await test_broker(plugin, config=…)``."""
    # Imported here: the plugin is loaded for every run of pytest, also where nobody needs it.
    from .testing import Brokers

    brokers = Brokers()
    yield brokers
    brokers.abandon()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test that takes the fixture."""
    brokers: Any = pyfuncitem.funcargs.get("test_broker")
    if brokers is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    args = {name: pyfuncitem.funcargs[name] for name in names}

    async def test() -> None:
        try:
            await pyfuncitem.obj(**args)
        finally:
            await brokers.stop()

    asyncio.run(test())
    return True
