"""Generated clients: what `trunkline tools client --lang python` writes is typed, and calls."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from daemon import Daemon, binary
from test_daemon import client
from trunkline import (
    Conversation,
    InboundMessage,
    InvalidArguments,
    MessagePart,
    OutboundMessage,
    Plugin,
    Reaction,
    Sender,
    payloads,
)
from trunkline.testing import StartBroker

ROOT = Path(os.environ.get("TRUNKLINE_ROOT", Path(__file__).resolve().parents[2]))
HARD = ROOT / "contract" / "vectors" / "typed"
PAGE = ROOT / "docs" / "tools.md"

TILL = """
from collections.abc import AsyncIterator
from typing import Literal, TypedDict
from trunkline import Plugin, run

plugin = Plugin("till")

class Invoice(TypedDict):
    id: str
    currency: str

@plugin.tool()
async def create_invoice(
    customer: str, days_until_due: int, currency: Literal["eur", "usd"] = "eur"
) -> Invoice:
    return {"id": f"in_{customer}_{days_until_due}", "currency": currency}

@plugin.tool()
async def count(to: int) -> AsyncIterator[int]:
    for n in range(to):
        yield n

run(plugin)
"""

USES = """
from till import CreateInvoiceOutput, Till
from trunkline import Client, Context, ToolCall
from trunkline.testing import TestBroker
from typing_extensions import assert_type

async def uses(client: Client, ctx: Context, broker: TestBroker) -> None:
    till = Till(client, timeout="5s", instance="default", idempotency_key="k")
    assert_type(till.create_invoice(customer="c", days_until_due=3), ToolCall[CreateInvoiceOutput])
    assert_type((await Till(ctx).create_invoice(customer="c", days_until_due=3))["id"], str)
    assert_type(await Till(broker).count(to=3), list[int])
"""


def generate(home: Path, *args: str, to: str = "till.py") -> str:
    command = [binary(), "tools", "client", "--lang", "python", *args, "--output", to]
    subprocess.run(command, cwd=home, check=True, capture_output=True)
    return (home / to).read_text()


def mypy(home: Path, *files: str) -> list[str]:
    pytest.importorskip("mypy")
    # A package of its own, as a user's.
    config = home / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), *files]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def load(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, home / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_a_client_calls_through_a_real_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves LN53, Python part: the page's code calls a tool by its types, through a real daemon.

    What it is given and gives is held to by mypy: a wrong argument is an error of types.
    """
    with Daemon(tmp_path, {"till": TILL}) as daemon:
        daemon.wait_for(lambda: "  available" in daemon.run("tools", "list").stdout)
        daemon.run("tools", "client", "--lang", "python", "till", "--output", "till.py")
        listed = daemon.run("tools", "list", "--json").stdout
        assert (
            generate(tmp_path, "--from", str(save(tmp_path, listed)), to="again.py")
            == (tmp_path / "till.py").read_text()
        )
        (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
        (tmp_path / "page.py").write_text(block)
        till = load(tmp_path, "till", monkeypatch)
        page = load(tmp_path, "page", monkeypatch)

        async def calls() -> None:
            async with client(daemon, "caller") as caller:
                assert await page.invoice(caller) == "in_cus_9_30"
                assert await till.Till(caller).count(to=3) == [0, 1, 2]
                with pytest.raises(InvalidArguments):
                    await till.Till(caller).create_invoice(customer="c", days_until_due="soon")

        asyncio.run(calls())
    (tmp_path / "uses.py").write_text(USES)
    assert mypy(tmp_path, "till.py", "page.py", "uses.py") == []
    wrongs = ('days_until_due="soon"', 'days_until_due=3, currency="pound"', "days=3")
    for number, wrong in enumerate(wrongs):
        text = USES.replace("days_until_due=3", wrong, 1)
        (tmp_path / f"wrong{number}.py").write_text(text)
    errors = mypy(tmp_path, *(f"wrong{number}.py" for number in range(len(wrongs))))
    assert [line.split(".py")[0] for line in sorted(errors)] == ["wrong0", "wrong1", "wrong2"]


def save(home: Path, text: str) -> Path:
    path = home / "tools.json"
    path.write_text(text)
    return path


def test_hard_schemas_are_types_for_both_checkers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves X4, Python part: names, recursion and alternatives of any schema pass strict checkers."""
    written = generate(tmp_path, "--from", str(HARD / "tools.json"), to="hard.py")
    assert written == (HARD / "client.py").read_text()
    assert mypy(tmp_path, "hard.py") == []
    pyright = Path(sys.executable).with_name("pyright")
    if pyright.exists():
        config = {"typeCheckingMode": "strict", "include": ["hard.py"]}
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
        command = [str(pyright), "--pythonpath", sys.executable]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    hard = load(tmp_path, "hard", monkeypatch)
    odd = hard.OddNamesArguments
    assert odd.__required_keys__ == {"from", "x-y"}
    assert {"self", "class", "__private", "list"} <= odd.__optional_keys__
    hints = typing.get_type_hints(hard.PayArguments)
    assert set(typing.get_args(hints["note"])) == {str, int, type(None)}
    assert typing.get_args(hints["by"]) == (hard.PayByCard, hard.PayByBankTransfer)


async def test_a_payload_is_read_by_its_type(test_broker: StartBroker) -> None:
    """Proves X4, Python part: the types of payloads are what handlers can take."""
    plugin = Plugin("reads")
    seen: list[Any] = []

    @plugin.on("agent.dead")
    async def dead(letter: payloads.DeadLetter) -> None:
        seen.append(letter["reason"])

    broker = await test_broker(plugin)
    letter = {
        "id": "1",
        "subscription": "s",
        "reason": "expired",
        "dead_at": "2026-01-01T00:00:00Z",
    }
    await broker.publish("agent.dead", letter)
    await broker.publish("agent.dead", {**letter, "reason": "bored"})
    await broker.settle()
    assert seen == ["expired"]
    assert [each["code"] for each in await broker.dead_letters()] == ["invalid_payload"]


def test_a_view_has_the_members_of_its_payload() -> None:
    """Proves X4, Python part: what is read by name is what the schema has."""
    for view, payload in (
        (InboundMessage, payloads.InboundMessage),
        (OutboundMessage, payloads.OutboundMessage),
        (MessagePart, payloads.MessagePart),
        (Sender, payloads.Sender),
        (Conversation, payloads.Conversation),
        (Reaction, payloads.Reaction),
    ):
        members = payload.__required_keys__ | payload.__optional_keys__
        assert {name for name in members if not hasattr(view, name)} == set()
