"""Plugins on the low-level form alone, under a real daemon: what is written for it elsewhere runs here.

Each makes the calls of one of the public plugin patterns, in their order: a sender before ``run``,
``await`` of a publish inside of tasks and timers, one function for all events.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon
from trunkline import BrokerSender, Client, ConfigInvalid, Event, PluginAdapter, Subscription

HEAD = """
import asyncio, json, os
from pathlib import Path
from trunkline import Event, PluginAdapter

MANIFEST = Path("plugin.toml").read_text()
"""

MIRROR = """
async def mirrored(topic, event, broker):
    back = topic.replace("plugin.outbound.", "plugin.inbound.")
    await broker.publish(back, Event.new(back, "mirror", event.payload))

async def main():
    await PluginAdapter(manifest_toml=MANIFEST, on_event=mirrored).run()

asyncio.run(main())
"""

# Looks at a shelf again and again; what it told of is on disk before it looks anew.
SHELF = """
TOLD = Path("told.json")
told = set(json.loads(TOLD.read_text())) if TOLD.exists() else set()
Path("pid").write_text(str(os.getpid()))

async def look(broker):
    while True:
        for book in json.loads(Path("shelf.json").read_text()):
            if book["id"] not in told:
                told.add(book["id"])
                await broker.publish("plugin.inbound.shelf", Event.new("plugin.inbound.shelf", "shelf", book))
        TOLD.with_suffix(".new").write_text(json.dumps(sorted(told)))
        TOLD.with_suffix(".new").replace(TOLD)
        await asyncio.sleep(0.02)

async def main():
    adapter = PluginAdapter(manifest_toml=MANIFEST)
    looking = asyncio.create_task(look(adapter.broker))
    await adapter.run()
    looking.cancel()

asyncio.run(main())
"""

# Waits for silence, and says in one piece what came in several.
SENTENCES = """
words, clocks = {}, {}

async def heard(topic, event, broker):
    who, word = event.payload["who"], event.payload["word"]
    words.setdefault(who, []).append(word)
    if who in clocks:
        clocks[who].cancel()
    clocks[who] = asyncio.create_task(say(who, broker, silence=2.0))

async def say(who, broker, silence):
    await asyncio.sleep(silence)
    sentence = " ".join(words.pop(who, []))
    await broker.publish("plugin.inbound.sentences", Event.new("plugin.inbound.sentences", "s", {"text": sentence}))

async def main():
    await PluginAdapter(manifest_toml=MANIFEST, on_event=heard).run()

asyncio.run(main())
"""

# Several accounts of one program: each knows which it is.
ACCOUNTS = """
async def answered(topic, event, broker):
    back = f"plugin.inbound.accounts.{adapter.instance}"
    await broker.publish(back, Event.new(back, "accounts", {"by": adapter.instance}))

adapter = PluginAdapter(manifest_toml=MANIFEST, on_event=answered)
asyncio.run(adapter.run())
"""

SHELVES = [{"id": "a"}, {"id": "b"}]


def write(daemon: Daemon, books: list[dict[str, str]]) -> None:
    shelf = daemon.home / "plugins" / "shelf" / "shelf.json"
    shelf.with_suffix(".new").write_text(json.dumps(books))
    shelf.with_suffix(".new").rename(shelf)


async def payload(inbound: Subscription, topic: str) -> object:
    delivery = await asyncio.wait_for(inbound.next(), 20)
    assert delivery is not None and delivery.topic == topic
    delivery.ack()
    return delivery.payload


def test_an_adapter_with_a_declared_tool_is_refused_at_the_start() -> None:
    """Proves: an adapter that could not answer what its manifest declares does not start, and says what to do."""

    async def on_event(topic: str, event: Event[Any], broker: BrokerSender) -> None: ...

    manifest = '[plugin]\nid = "till"\nversion = "0.1.0"\ncommand = ["./till"]\n'
    tool = '[[tools]]\nname = "charge"\ndescription = "Charges."\n'
    adapter = PluginAdapter(manifest_toml=manifest + tool, on_event=on_event)
    with pytest.raises(
        ConfigInvalid, match=r"publish answers on plugin\.tool\.till\.charge\.reply"
    ):
        asyncio.run(adapter.run())


def test_plugins_of_the_low_level_form_run_as_they_are(tmp_path: Path) -> None:
    """Proves H3, Python part: echo, poller, assembler and accounts on the low-level calls."""
    scripts = {"mirror": MIRROR, "shelf": SHELF, "sentences": SENTENCES, "accounts": ACCOUNTS}
    daemon = Daemon(tmp_path, {name: HEAD + script for name, script in scripts.items()})
    config = tmp_path / "trunkline.toml"
    two = '[[plugins.accounts]]\ninstance = "support"\n[[plugins.accounts]]\ninstance = "sales"\n'
    config.write_text(config.read_text().replace("[[plugins.accounts]]\n", two))
    write(daemon, SHELVES)
    folder = tmp_path / ".trunkline"

    async def talk() -> None:
        token = next(each for each in folder.iterdir() if "token" in each.name)
        socket = str(folder / "trunkline.sock")
        async with Client("ops", socket=socket, token_file=str(token)) as ops:
            await mirrors(ops)
            await looks(ops)
            await assembles(ops)
            await knows_its_account(ops)

    async def mirrors(ops: Client) -> None:
        inbound = await ops.subscribe("plugin.inbound.mirror.>", name="mirror", start="earliest")
        await ops.send("mirror", {"text": "hi", "n": 2**70}, to="me")
        found = await payload(inbound, "plugin.inbound.mirror.default")
        assert isinstance(found, dict) and (found["text"], found["n"]) == ("hi", 2**70)

    async def looks(ops: Client) -> None:
        topic = "plugin.inbound.shelf.default"
        inbound = await ops.subscribe("plugin.inbound.shelf.>", name="shelf", start="earliest")
        assert [await payload(inbound, topic) for _ in SHELVES] == SHELVES
        home = daemon.home / "plugins" / "shelf"
        told = home / "told.json"
        # It is written once what was told of is durable, so after that came here.
        while not told.exists() or json.loads(told.read_text() or "[]") != ["a", "b"]:
            await asyncio.sleep(0.01)
        os.kill(int((home / "pid").read_text()), signal.SIGKILL)
        write(daemon, [*SHELVES, {"id": "c"}])
        # What was told before is not told again.
        assert await payload(inbound, topic) == {"id": "c"}

    async def assembles(ops: Client) -> None:
        inbound = await ops.subscribe("plugin.inbound.sentences.>", name="s", start="earliest")
        for who, word in (("x", "one"), ("y", "three"), ("x", "two")):
            await ops.send("sentences", {"who": who, "word": word}, to=who)
        topic = "plugin.inbound.sentences.default"
        found = [await payload(inbound, topic) for _ in range(2)]
        assert sorted(map(str, found)) == ["{'text': 'one two'}", "{'text': 'three'}"]

    async def knows_its_account(ops: Client) -> None:
        inbound = await ops.subscribe("plugin.inbound.accounts.>", name="acc", start="earliest")
        for instance in ("sales", "support"):
            await ops.send("accounts", {"text": "who?"}, to="me", instance=instance)
            found = await payload(inbound, f"plugin.inbound.accounts.{instance}")
            assert found == {"by": instance}

    with daemon:
        asyncio.run(asyncio.wait_for(talk(), 60))
        assert daemon.stop() == 0
