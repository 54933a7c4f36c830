"""Against a real daemon: spawned plugins, clients over the local socket, and the ends of either."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon
from peer import ECHO
from trunkline import Client, Context, Delivery, TrunklineError


def client(daemon: Daemon, name: str) -> Client:
    found = daemon.home / ".trunkline"
    return Client(name, socket=str(found / "trunkline.sock"), token_file=str(token_file(found)))


def token_file(folder: Path) -> Path:
    return next(each for each in sorted(folder.iterdir()) if "token" in each.name)


def test_a_spawned_plugin_echoes_and_what_it_prints_is_its_log(tmp_path: Path) -> None:
    """Proves P1, Python part: the echo plugin under the daemon."""
    noisy = ECHO.replace("    return Reply", '    print("handles", payload["n"])\n    return Reply')
    with Daemon(tmp_path, {"echo": noisy}) as daemon:

        async def talk() -> None:
            async with client(daemon, "ops") as ops:
                inbound = await ops.subscribe("plugin.inbound.echo.>", name="answers")
                for n in range(20):
                    sending = await ops.send("echo", {"text": f"hi {n}", "n": n}, to=f"c{n % 3}")
                    assert (await sending.until("sent", timeout="10s")).state == "sent"
                    delivery = await inbound.next()
                    assert delivery is not None and delivery.payload["n"] == n
                    delivery.ack()

        asyncio.run(talk())
        daemon.wait_for(lambda: "handles 19" in daemon.run("logs", "echo").stdout)
        assert daemon.stop() == 0


SCANS = """
import asyncio, os
from trunkline import Plugin, run

plugin = Plugin("scans")

@plugin.on_start
async def start(ctx):
    while not os.path.exists("scanned"):
        ctx.progress(1, 2, "scan the code", {"qr": "2@abc"})
        await asyncio.sleep(0.01)

run(plugin)
"""


def test_a_start_shows_what_a_person_has_to_do(tmp_path: Path) -> None:
    """Proves LN15, Python part: a subscriber gets what a start waits for, with its data, until the start ends."""
    with Daemon(tmp_path, {"scans": SCANS}) as daemon:

        async def talk() -> None:
            async with client(daemon, "ops") as ops:
                told = await ops.subscribe("plugin.lifecycle.scans.>", name="a", start="earliest")

                async def hear(fits: Callable[[Any], bool]) -> Any:
                    while True:
                        delivery = await told.next()
                        assert delivery is not None
                        delivery.ack()
                        if fits(delivery.payload):
                            return delivery.payload

                waits = await hear(lambda said: "progress" in said)
                assert (waits["state"], waits["reason"]) == ("starting", "scan the code")
                assert waits["progress"]["data"] == {"qr": "2@abc"}
                assert "\n  2@abc" in daemon.run("status").stdout
                (tmp_path / "plugins" / "scans" / "scanned").touch()
                assert "progress" not in await hear(lambda said: said["state"] == "ready")

        asyncio.run(asyncio.wait_for(talk(), 30))


def test_a_client_reconnects_when_the_daemon_comes_back(tmp_path: Path) -> None:
    """Proves attach mode, Python part: handlers and calls go on after the daemon was killed."""
    daemon = Daemon(tmp_path).start()
    seen: list[int] = []

    async def talk() -> None:
        agent = client(daemon, "agent")

        @agent.on("agent.x", group="g", start="earliest")
        async def handle(n: int, ctx: Context) -> None:
            seen.append(n)

        async with agent:
            await agent.publish("agent.x", 1)
            while seen != [1]:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(daemon.stop, signal.SIGKILL) != 0
            await asyncio.to_thread(daemon.start)
            while True:
                try:
                    await agent.publish("agent.x", 2, id="two")
                    break
                except TrunklineError as error:
                    assert error.retryable, error
                    await asyncio.sleep(0.05)
            while 2 not in seen:
                await asyncio.sleep(0.01)

    with daemon:
        asyncio.run(asyncio.wait_for(talk(), 30))


ADDS = """
from trunkline import Plugin, run

plugin = Plugin("adds")

@plugin.tool()
async def add(a: int, b: int = 1) -> int:
    return a + b

run(plugin)
"""


def test_tools_appear_and_disappear_with_their_plugin(tmp_path: Path) -> None:
    """Proves P3c, Python part: a plugin that is switched off has no tools, and has them again after."""
    with Daemon(tmp_path, {"adds": ADDS}) as daemon:

        async def listed(ops: Client) -> list[str]:
            tools = (await ops.request("tool.list", {}))["tools"]
            states = {tool["name"]: [each["state"] for each in tool["instances"]] for tool in tools}
            return [name for name, found in states.items() if found == ["ready"]]

        async def becomes(ops: Client, names: list[str]) -> None:
            while await listed(ops) != names:
                await asyncio.sleep(0.02)

        async def talk() -> None:
            async with client(daemon, "ops") as ops:
                await becomes(ops, ["adds.add"])
                assert await ops.call_tool("adds.add", {"a": 2}, timeout="10s") == 3
                await asyncio.to_thread(daemon.run, "plugins", "disable", "adds")
                await becomes(ops, [])
                with pytest.raises(TrunklineError) as error:
                    await ops.call_tool("adds.add", {"a": 2})
                assert error.value.code in ("tool_not_found", "unavailable")
                await asyncio.to_thread(daemon.run, "plugins", "enable", "adds")
                await becomes(ops, ["adds.add"])

        asyncio.run(asyncio.wait_for(talk(), 30))


ATTACHED = """
import sys
from trunkline import Plugin, Reply, run
plugin = Plugin("echo")
@plugin.outbound("echo")
async def echo(payload):
    return Reply(payload)
@plugin.on_stop
async def stop(ctx, reason):
    print("STOPPED")
run(plugin)
"""

LIVES = """
from trunkline import OutboundMessage, Plugin, Reply, run

plugin = Plugin("lives")

def say(word):
    with open("said", "a") as said:
        said.write(word + "\\n")

@plugin.on_start
async def start(ctx):
    say("start")

@plugin.on_stop
async def stop(ctx, reason):
    say("stop")

@plugin.outbound("lives")
async def echo(message: OutboundMessage) -> Reply:
    return Reply({"text": message.text})

run(plugin)
"""


def said(daemon: Daemon) -> list[str]:
    found = daemon.home / "plugins" / "lives" / "said"
    return found.read_text().split() if found.exists() else []


def test_a_restart_by_the_operator_stops_once_before_it_starts(tmp_path: Path) -> None:
    """Proves LN13, Python part: `plugins restart` runs the stop hook once, before the next start."""
    with Daemon(tmp_path, {"lives": LIVES}) as daemon:
        daemon.wait_for(lambda: said(daemon) == ["start"])
        daemon.run("plugins", "restart", "lives")
        daemon.wait_for(lambda: len(said(daemon)) >= 3)
        assert said(daemon) == ["start", "stop", "start"]
        assert daemon.stop() == 0
        assert said(daemon) == ["start", "stop", "start", "stop"]


def test_a_plugin_by_hand_attaches_runs_its_hooks_and_is_alone(tmp_path: Path) -> None:
    """Proves X3, Python part: attached by hand each hook runs once, and a second one is refused."""
    (tmp_path / "plugins").mkdir()
    with Daemon(tmp_path, {"lives": LIVES}) as daemon:
        daemon.wait_for(lambda: said(daemon) == ["start"])
        daemon.run("plugins", "disable", "lives")
        daemon.wait_for(lambda: said(daemon) == ["start", "stop"])
        folder = tmp_path / "plugins" / "lives"
        env = {**daemon.env, "TRUNKLINE_SOCKET": str(tmp_path / ".trunkline" / "trunkline.sock")}

        def by_hand() -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "plugin.py"],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        async def echoes() -> None:
            async with client(daemon, "ops") as ops:
                sending = await ops.send("lives", "hi", to="c")
                assert (await sending.until("sent", timeout="15s")).state == "sent"

        with by_hand() as first:
            try:
                asyncio.run(echoes())
                with by_hand() as second:
                    text, _ = second.communicate(timeout=20)
                assert second.returncode != 0 and "instance_busy" in text, text
                assert said(daemon) == ["start", "stop", "start"]
                first.send_signal(signal.SIGINT)
                text, _ = first.communicate(timeout=20)
            finally:
                first.kill()
        assert first.returncode == 0, text
        assert said(daemon) == ["start", "stop"] * 2


def test_a_wrong_token_and_no_daemon_are_told_apart(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        socket = str(tmp_path / ".trunkline" / "trunkline.sock")

        async def connect(**options: str) -> str:
            try:
                await Client("c", **options).connect()
            except TrunklineError as error:
                return error.code
            return "connected"

        assert asyncio.run(connect(socket=socket, token="wrong")) == "unauthorized"
        assert asyncio.run(connect(socket=str(tmp_path / "none"), token="x")) in (
            "link_lost",
            "unavailable",
        )
        assert daemon.stop() == 0


def test_nothing_is_lost_when_plugin_and_daemon_are_killed(tmp_path: Path) -> None:
    """Proves LN9, Python part: queued events, kill -9 of both in the middle; all are echoed, in order."""
    count = int(os.environ.get("TRUNKLINE_EVENTS", "1000"))
    daemon = Daemon(tmp_path, {"echo": ECHO}).start()

    async def fill() -> None:
        async with client(daemon, "filler") as ops:
            for n in range(count):
                await ops.publish(
                    "plugin.outbound.echo", {"n": n}, session=f"s{n % 7}", id=f"id-{n}"
                )

    asyncio.run(fill())
    for _ in range(2):
        found = subprocess.run(
            ["pgrep", "-P", str(daemon.process.pid)], capture_output=True, text=True
        )  # type: ignore[union-attr]
        for pid in found.stdout.split():
            # It may end by itself meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if b"plugin.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)
    daemon.stop(signal.SIGKILL)
    with daemon:

        async def collect() -> dict[str, list[int]]:
            found: dict[str, list[int]] = {}
            async with client(daemon, "reader") as ops:
                answers = await ops.subscribe("plugin.inbound.echo.>", name="all", start="earliest")
                total = 0
                while total < count:
                    delivery = await answers.next()
                    assert isinstance(delivery, Delivery)
                    found.setdefault(str(delivery.event.session_id), []).append(
                        delivery.payload["n"]
                    )
                    delivery.ack()
                    total += 1
            return found

        found = asyncio.run(asyncio.wait_for(collect(), 60))
    for session, numbers in found.items():
        assert numbers == sorted(set(numbers)), session
    assert sum(map(len, found.values())) == count


def test_an_exception_is_seen_with_its_line_in_the_dead_letter(tmp_path: Path) -> None:
    """Proves X4, Python part: under the daemon, the dead letter names the author's line."""
    with Daemon(tmp_path) as daemon:

        async def talk() -> None:
            agent = client(daemon, "agent")

            @agent.on("agent.x", group="g", retry={"failures_max": 1})
            async def handle(payload: str) -> None:
                raise KeyError(payload)

            async with agent:
                await agent.publish("agent.x", "no such thing")
                while True:
                    found = await agent.request("admin.dlq.list", {})
                    if found["letters"]:
                        break
                    await asyncio.sleep(0.02)
            error = found["letters"][0]["last_error"]
            assert error["type"] == "KeyError" and "no such thing" in error["message"]
            assert "test_daemon.py" in error["traceback"] and "in handle" in error["traceback"]

        asyncio.run(asyncio.wait_for(talk(), 30))


AGENT = """
import sys
from trunkline import Client, Json, Reply, run
agent = Client("agent", socket=sys.argv[1], token_file=sys.argv[2])
@agent.on("agent.in", group="g")
async def handle(payload: Json, ctx):
    await ctx.publish("agent.out", payload)
run(agent)
print("END")
"""


def test_a_client_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        folder = tmp_path / ".trunkline"
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(folder / "trunkline.sock"), str(token_file(folder))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

        async def talk() -> None:
            async with client(daemon, "ops") as ops:
                answers = await ops.subscribe("agent.out", name="answers")
                while (await ops.publish("agent.in", {"n": 2**60})).matched == 0:
                    await asyncio.sleep(0.02)
                delivery = await answers.next()
                assert delivery is not None and delivery.payload == {"n": 2**60}
                delivery.ack()

        asyncio.run(asyncio.wait_for(talk(), 30))
        agent.terminate()
        text, _ = agent.communicate(timeout=20)
        assert agent.returncode == 0 and text == "END\n", text


def test_a_plugin_by_hand_needs_no_daemon_that_starts_it(tmp_path: Path) -> None:
    script = tmp_path / "by_hand.py"
    script.write_text(ATTACHED)
    with Daemon(tmp_path) as daemon:
        plugin = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env=daemon.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
        # An instance that the config does not name is refused with a reason.
        assert plugin.returncode != 0 and plugin.stderr.startswith("error: "), plugin
