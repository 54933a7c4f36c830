"""A plugin's process: hooks, the ends it can come to, what it prints, what it must not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from peer import ECHO, INITIALIZE, Peer

HOOKS = """
import asyncio, sys
from trunkline import Plugin, run

plugin = Plugin("echo")
print("started with", sys.argv[1:])

@plugin.on_start
async def start(ctx):
    ctx.log.info("begins", instance=ctx.instance)
    async def tick():
        while True:
            await asyncio.sleep(0.01)
    asyncio.create_task(tick())
    return {"n": 1}

@plugin.on_stop
async def stop(ctx, reason):
    assert ctx.cancelled and ctx.state == {"n": 1}
    await asyncio.sleep(0.01)
    print("STOPPED", reason)

@plugin.on_config
async def config(ctx, new):
    print("CONFIG", new["greeting"], ctx.config["token"])

@plugin.on_pause
def pause(ctx, reason):
    print("PAUSED", reason, type(ctx).__name__)

@plugin.on_resume
async def resume(ctx):
    print("RESUMED")

@plugin.outbound("echo")
async def echo(payload, ctx):
    await asyncio.sleep(0)

run(plugin)
print("END")
"""


@pytest.mark.parametrize("end", ["eof", "term", "int", "shutdown"])
def test_the_stop_hook_runs_once_at_every_end(end: str) -> None:
    """Proves L8, L14 and LN13, Python part: hooks run, and on_stop once at EOF, signals, shutdown."""
    with Peer(HOOKS) as peer:
        peer.activate()
        assert peer.ask("instance.pause", {"reason": "lunch"}) == {}
        assert peer.ask("instance.resume", {}) == {}
        if end == "eof":
            peer.close_link()
        elif end == "shutdown":
            assert "code" not in peer.ask("shutdown", {"reason": "host", "timeout_ms": 5000})
        else:
            peer.signal(signal.SIGTERM if end == "term" else signal.SIGINT)
            peer.signal(signal.SIGTERM)
        assert peer.wait() == 0, peer.text()
        text = peer.text()
        assert text.count("STOPPED") == 1, text
        assert "PAUSED lunch SyncInstanceContext" in text and "RESUMED" in text
        assert text.rstrip().endswith("END"), text
        if end != "eof":
            assert any(line["message"] == "begins" for line in peer.logs)


def test_a_new_config_is_shown_to_the_hook() -> None:
    with Peer(HOOKS) as peer:
        peer.activate()
        config = {"greeting": "ho", "token": {"$secret": "token"}}
        params = {"config": config, "secrets": {"token": "new"}, "revision": 2}
        assert "code" not in peer.ask("config.update", params)
        peer.close_link()
        assert peer.wait() == 0
        assert "CONFIG ho" in peer.text()


def test_a_start_that_fails_is_told_with_its_reason() -> None:
    """Proves LN14, Python part: what on_start raises is what the instance reports."""
    script = """
    from trunkline import NeedsAuth, Plugin, run
    plugin = Plugin("echo")
    @plugin.on_start
    async def start(ctx):
        raise NeedsAuth("no token", "https://example.com/login")
    run(plugin)
    """
    with Peer(script) as peer:
        peer.ask("initialize", INITIALIZE)
        peer.send(id=99, method="instance.activate", params={"generation": 1})
        frames = [peer.recv(), peer.recv()]
        status = next(each["params"] for each in frames if each.get("method") == "instance.status")
        assert (status["state"], status["reason"]) == ("needs_auth", "no token")
        assert status["url"] == "https://example.com/login"


def test_an_error_of_the_stop_hook_is_the_exit_status() -> None:
    script = """
    from trunkline import Plugin, run
    plugin = Plugin("echo")
    @plugin.on_stop
    async def stop(ctx, reason):
        raise ValueError("left open")
    run(plugin)
    """
    with Peer(script) as peer:
        peer.activate()
        peer.close_link()
        assert peer.wait() == 70, peer.text()
        assert "error: " in peer.text() and "left open" in peer.text()


NOISE = """
import os, subprocess, sys
from trunkline import Json, Plugin, Reply, run

plugin = Plugin("echo")
MB = "x" * 1_000_000

@plugin.outbound("echo")
async def echo(payload: Json) -> Reply:
    print(MB, end="")
    print('{"jsonrpc": "2.0", "method": "ping"}')
    sys.stdout.write(MB); sys.stdout.flush()
    sys.stderr.write(MB)
    os.write(1, MB.encode())
    subprocess.run([sys.executable, "-c", "import os; os.write(1, b'c' * 1000000); os.write(2, b'e' * 10)"])
    return Reply(payload)

run(plugin)
"""


@pytest.mark.parametrize("link", ["fd", "stdio"])
def test_nothing_that_is_printed_gets_between_the_frames(link: str) -> None:
    """Proves W8 and LN7, Python part: a megabyte without a newline costs no frame."""
    with Peer(NOISE, link=link) as peer:
        peer.activate()
        for n in range(3):
            peer.event(f"e{n}", {"n": n})
            (answer, _receipt) = peer.commit()["events"]
            assert answer["event"]["payload"]["n"] == n
        peer.close_link()
        assert peer.wait() == 0
        text = peer.text()
        # Everything that was printed is in the log.
        assert text.count("x") >= 12_000_000 and text.count("c" * 100_000) >= 30


def test_an_exception_carries_file_and_line_over_the_wire() -> None:
    """Proves X4, Python part: the nak names the author's line."""
    script = """
    from trunkline import Plugin, run
    plugin = Plugin("echo")
    @plugin.outbound("echo")
    async def echo(payload):
        return Rply(payload)
    run(plugin)
    """
    with Peer(script) as peer:
        peer.activate()
        peer.event("e1", 1)
        frame = peer.recv()
        text = json.dumps(frame)
        assert "NameError" in text and "Rply" in text, frame
        assert "line 6" in text or "<string>:6" in text, frame


def test_logging_becomes_the_instances_log() -> None:
    script = """
    import logging
    from trunkline import Context, Plugin, run
    plugin = Plugin("echo")
    log = logging.getLogger("my.module")
    @plugin.outbound("echo")
    async def echo(payload, ctx: Context):
        log.info("sends %s", payload["n"])
        log.debug("not shown")
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("broke")
        ctx.log.warning("field", odd={1, 2}, n=1)
    @plugin.on_start
    async def start(ctx):
        log.warning("at the start")
    run(plugin)
    """
    with Peer(script) as peer:
        peer.activate()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        peer.event("e1", {"n": 7}, traceparent=trace)
        peer.commit()
        found = {line["message"]: line for line in peer.logs}
        assert found["sends 7"]["level"] == "info"
        assert found["sends 7"]["fields"]["logger"] == "my.module"
        assert found["sends 7"]["fields"]["event_id"] == "e1"
        assert found["sends 7"]["fields"]["traceparent"] == trace
        assert found["broke"]["level"] == "error"
        assert "ZeroDivisionError" in found["broke"]["fields"]["exception"]
        assert found["at the start"]["level"] in ("warning", "warn")
        assert found["field"]["fields"]["odd"] == "{1, 2}"
        assert "not shown" not in found


def test_a_publish_before_the_first_event_waits_for_the_handshake() -> None:
    """Proves H3, Python part: the sender works before the adapter runs."""
    script = """
    import asyncio
    from trunkline import Event, PluginAdapter
    MANIFEST = '''
    [plugin]
    id = "echo"
    version = "0.1.0"
    command = ["python3", "echo.py"]
    [[channels]]
    kind = "echo"
    '''
    kept = []
    async def late(broker):
        await asyncio.sleep(0.1)
        await broker.publish("plugin.inbound.echo.default", Event.new("x", "me", {"late": 1}))
    async def on_event(topic, event, broker):
        back = topic.replace("plugin.outbound.", "plugin.inbound.")
        await broker.publish(back, Event.new(back, "echo", event.payload))
        kept.append(asyncio.create_task(late(broker)))
    adapter = PluginAdapter(manifest_toml=MANIFEST, on_event=on_event,
                            on_shutdown=lambda: print("SHUTDOWN"))
    async def early(broker):
        assert adapter.instance == ""
        done = await broker.publish("plugin.inbound.echo.default", Event.new("x", "me", {"early": 1}))
        print("EARLY", done.seq, adapter.instance)
    async def main():
        task = asyncio.create_task(early(adapter.broker))
        await asyncio.sleep(0)
        await adapter.run()
        await task
    asyncio.run(main())
    """
    with Peer(script) as peer:
        peer.ask("initialize", INITIALIZE)
        peer.send(id=99, method="instance.activate", params={"generation": 1})
        early = None
        for _ in range(3):
            frame = peer.recv()
            if frame.get("method") == "broker.publish":
                early = frame
        assert early is not None and early["params"]["event"]["payload"] == {"early": 1}
        peer.answer(early, {"seq": 5, "duplicate": False, "matched": 0})
        peer.event("e1", {"n": 1})
        frame = peer.expect("broker.publish")
        assert frame["params"]["topic"] == "plugin.inbound.echo.default"
        assert frame["params"]["event"]["payload"] == {"n": 1}
        peer.answer(frame, {"seq": 6, "duplicate": False, "matched": 0})
        assert peer.expect("broker.ack")["params"]["deliveries"] == ["d-e1"]
        frame = peer.expect("broker.publish")
        assert frame["params"]["event"]["payload"] == {"late": 1}
        peer.answer(frame, {"seq": 7, "duplicate": False, "matched": 0})
        peer.close_link()
        assert peer.wait() == 0, peer.text()
        assert "EARLY 5 default" in peer.text() and "SHUTDOWN" in peer.text()


def test_the_program_may_exit_from_a_handler() -> None:
    script = """
    import sys
    from trunkline import Plugin, run
    plugin = Plugin("echo")
    @plugin.on_stop
    async def stop(ctx, reason): print("STOPPED")
    @plugin.outbound("echo")
    async def echo(payload):
        sys.exit(7)
    run(plugin)
    """
    with Peer(script) as peer:
        peer.activate()
        peer.event("e1", 1)
        assert peer.wait() == 7, peer.text()
        assert peer.text().count("STOPPED") == 1


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    env.pop("TRUNKLINE_LINK_FD", None)
    run = subprocess.run(
        [sys.executable, "-c", ECHO],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env=env,
        timeout=20,
    )
    assert run.returncode not in (0, 1), run
    assert run.stderr.startswith(b"error: "), run.stderr


def test_a_child_of_fork_is_told_so() -> None:
    script = """
    import asyncio, os
    from trunkline import Client, Plugin, TrunklineError
    from trunkline.testing import TestBroker
    async def main():
        broker = await TestBroker.start(Plugin("echo"))
        child = os.fork()
        if child == 0:
            try:
                broker._runtime.check()
            except TrunklineError as error:
                try:
                    broker._runtime.core.tell(0, "version", {})
                except TrunklineError as second:
                    assert "fork" in str(error) and "fork" in str(second)
                    os._exit(42)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        print("CHILD", os.waitstatus_to_exitcode(status))
        assert (await broker.publish("agent.x", 1)).seq is not None
        await broker.stop()
    asyncio.run(main())
    """
    with Peer(script) as peer:
        assert peer.wait() == 0, peer.text()
        assert "CHILD 42" in peer.text()


def test_subinterpreters_are_refused_clearly() -> None:
    script = """
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    inside = '''
    try:
        import trunkline._core
        import asyncio
        asyncio.run(trunkline.Client("c").connect())
    except Exception as error:
        print("FOUND", error)
    '''
    import textwrap
    interpreters.run_string(interpreters.create(), textwrap.dedent(inside))
    """
    with Peer(script) as peer:
        assert peer.wait() == 0, peer.text()
        assert "subinterpreter" in peer.text(), peer.text()


def test_uvloop_serves_too() -> None:
    pytest.importorskip("uvloop")
    with Peer("import uvloop; uvloop.install()\n" + ECHO, args=("-W", "ignore")) as peer:
        peer.activate()
        peer.event("e1", {"n": 1})
        assert peer.commit()["events"][0]["event"]["payload"] == {"n": 1}
        peer.signal(signal.SIGTERM)
        assert peer.wait() == 0, peer.text()


def test_the_debug_mode_of_asyncio_finds_nothing() -> None:
    with Peer(ECHO, args=("-X", "dev"), env={"PYTHONASYNCIODEBUG": "1"}) as peer:
        peer.activate()
        for n in range(100):
            peer.event(f"e{n}", {"n": n}, session=str(n % 7))
            peer.commit()
        peer.close_link()
        assert peer.wait() == 0
        assert peer.text() == "", peer.text()


def test_a_loop_that_is_blocked_is_noticed_and_pings_are_answered() -> None:
    """Proves LN16, Python part: a blocked loop marks the instance degraded."""
    script = """
    import time
    from trunkline import Plugin, run
    from trunkline._runtime import Runtime
    plugin = Plugin("echo")
    @plugin.on_start
    async def start(ctx):
        Runtime.current().tell(0, "config", {"blocked_ms": 300})
    @plugin.outbound("echo")
    async def echo(payload):
        time.sleep(6)
    run(plugin)
    """
    with Peer(script) as peer:
        peer.activate()
        peer.event("e1", 1)
        begun = time.monotonic()
        while True:
            frame = peer.recv()
            if frame.get("method") == "instance.status":
                break
        assert frame["params"]["state"] == "degraded", frame
        assert 0.2 < time.monotonic() - begun < 5.9
        assert peer.ask("ping", {})["in_flight"] == 1
        assert peer.recv()["method"] in ("broker.commit", "instance.status")


@pytest.mark.parametrize("how", ["run", "serve"])
def test_two_plugins_in_one_process_need_two_links(how: str) -> None:
    script = f"""
    import asyncio
    from trunkline import Client, Plugin, run, serve
    a, b = Plugin("echo"), Plugin("other")
    @a.on_stop
    async def stop(ctx, reason): print("STOPPED")
    {"run(a, b)" if how == "run" else "asyncio.run(serve(a, b))"}
    """
    with Peer(script, env={"HOME": "/nonexistent", "XDG_RUNTIME_DIR": "/nonexistent"}) as peer:
        # The second finds no daemon, which ends the first in order.
        assert peer.wait() != 0, peer.text()


def test_serve_ends_in_order_when_it_is_cancelled() -> None:
    script = """
    import asyncio
    from trunkline import Plugin, serve
    plugin = Plugin("echo")
    @plugin.on_stop
    async def stop(ctx, reason): print("STOPPED")
    async def main():
        serving = asyncio.create_task(serve(plugin))
        @plugin.on_start
        async def start(ctx): asyncio.get_running_loop().call_later(0.05, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            print("CANCELLED")
    asyncio.run(main())
    """
    with Peer(script) as peer:
        peer.activate()
        assert peer.wait() == 0, peer.text()
        assert peer.text().split() == ["STOPPED", "CANCELLED"]
