"""The code of the README and of the docstrings is run as it stands there."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest
import trunkline
from trunkline import Plugin
from trunkline.testing import StartBroker

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
MODULES = [f"trunkline.{each.name}" for each in pkgutil.iter_modules(trunkline.__path__)]


# Tests run elsewhere than in the repository.
REPOSITORY = Path(os.environ.get("TRUNKLINE_ROOT", ROOT.parent))
PAGES = sorted((REPOSITORY / "docs" / "patterns").glob("*.md"))
CONFIG = {
    "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "keyword": "rust",
    "url": "https://example.com/feed",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_code_of_a_pattern_runs(page: Path, test_broker: StartBroker) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    plugins = [found for block in blocks if (found := defined(block).get("plugin"))]
    assert plugins, "a page has a plugin"
    for plugin in plugins:
        broker = await test_broker(plugin, config=CONFIG)
        await broker.settle()


def test_the_patterns_have_pages() -> None:
    assert {"assembler", "webhook"} <= {page.stem for page in PAGES}


def defined(block: str) -> dict[str, Any]:
    # Dataclasses look their module up.
    module = sys.modules["readme"] = types.ModuleType("readme")
    exec(compile(block, "README.md", "exec"), module.__dict__)
    return module.__dict__


def test_the_readme_has_code() -> None:
    assert len(BLOCKS) == 7


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_code_of_the_readme_runs(block: str) -> None:
    defined(block)


async def test_the_first_plugin_of_the_readme_echoes(test_broker: StartBroker) -> None:
    """Proves P1, Python part: the plugin of the README, twenty lines at most."""
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 20
    broker = await test_broker(defined(BLOCKS[0])["plugin"])
    await broker.send("echo", {"text": "hi"}, to="c1")
    await broker.expect_published("plugin.inbound.echo.default", {"text": "hi"}, within="5s")


async def test_the_shop_of_the_readme_works(test_broker: StartBroker) -> None:
    names = defined(BLOCKS[1])
    broker = await test_broker(names["plugin"])
    await broker.publish("agent.orders", {"id": 7, "items": ["a"]})
    await broker.expect_published("agent.parcels", {"order": 7, "seen": 1}, within="5s")
    await broker.publish("agent.orders", {"id": 8, "items": []})
    await broker.publish("agent.stock", {"busy": False})
    found = await broker.expect_published("agent.stock.counted", within="5s")
    assert found.payload == {"n": 2**64}
    assert [each["code"] for each in await broker.dead_letters()] == ["empty"]


async def test_the_agent_of_the_readme_answers(test_broker: StartBroker) -> None:
    broker = await test_broker(defined(BLOCKS[0])["plugin"])
    agent = await broker.attach(defined(BLOCKS[3])["agent"])
    await broker.publish("plugin.inbound.sms.one", {"text": "hi"}, session="s")
    await broker.expect_published("plugin.outbound.sms.one", {"text": "1: hi"}, within="5s")
    await agent.close()


async def test_the_test_of_the_readme_passes(test_broker: StartBroker) -> None:
    await defined(BLOCKS[4])["test_it_echoes"](test_broker)


async def test_the_tools_of_the_readme_work(test_broker: StartBroker) -> None:
    await defined(BLOCKS[5])["test_the_tools"](test_broker)


def test_a_handler_is_an_ordinary_function() -> None:
    names = defined(BLOCKS[0])
    reply = asyncio.run(names["echo"]({"a": 1}, None))
    assert reply.payload == {"a": 1} and isinstance(names["plugin"], Plugin)


@pytest.mark.parametrize("name", [each for each in MODULES if not each.endswith("_core")])
def test_the_examples_of_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_everything_public_is_documented() -> None:
    missing: list[str] = []
    for name in trunkline.__all__:
        thing = getattr(trunkline, name)
        if not inspect.isclass(thing):
            continue
        if not (thing.__doc__ or "").strip():
            missing.append(name)
        for member, value in vars(thing).items():
            if member.startswith("_") or not (
                inspect.isfunction(value) or isinstance(value, property)
            ):
                continue
            if not textwrap.dedent(inspect.getdoc(value) or "").strip():
                missing.append(f"{name}.{member}")
    assert not missing
