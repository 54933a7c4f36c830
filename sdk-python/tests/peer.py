"""The broker's end of a link, by hand: a plugin runs in a process of its own, frames are plain JSON."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import deque
from pathlib import Path
from typing import Any

PATIENCE_S = 20.0

INITIALIZE = {
    "protocol": {"name": "trunkline", "min": "1.0", "max": "1.0"},
    "host": {"name": "trunkline", "version": "0.1.0"},
    "plugin": "echo",
    "instance": "default",
    "config": {"greeting": "hi", "token": {"$secret": "token"}},
    "secrets": {"token": "s3cret"},
    "limits": {"frame_bytes_max": 1_048_576},
    "services": ["kv", "lock"],
}


class Peer:
    """A plugin's process, and the broker's end of its link."""

    def __init__(
        self,
        script: str | Path,
        *,
        link: str = "fd",
        python: str = sys.executable,
        args: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.output = tempfile.TemporaryFile()
        if isinstance(script, Path):
            command = [python, *args, str(script)]
        else:
            command = [python, *args, "-c", textwrap.dedent(script)]
        environment = {**os.environ, **(env or {})}
        environment.pop("TRUNKLINE_LINK_FD", None)
        if link == "fd":
            ours, theirs = socket.socketpair()
            environment["TRUNKLINE_LINK_FD"] = str(theirs.fileno())
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
            )
            theirs.close()
            self._read = self._write = ours.detach()
        else:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.output,
            )
            assert self.process.stdin is not None and self.process.stdout is not None
            self._write = os.dup(self.process.stdin.fileno())
            self._read = os.dup(self.process.stdout.fileno())
            self.process.stdin.close()
            self.process.stdout.close()
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self.last = b""
        self._ids = 0
        self.logs: list[dict[str, Any]] = []

    # Frames

    def send(self, **frame: Any) -> None:
        self.send_raw(json.dumps({"jsonrpc": "2.0", **frame}).encode() + b"\n")

    def send_raw(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._write, data) :]

    def recv(self, patience: float = PATIENCE_S) -> dict[str, Any]:
        """Gives the next frame that is no log line; its text is `last`."""
        until = time.monotonic() + patience
        while True:
            while not self._lines:
                left = until - time.monotonic()
                ready, _, _ = select.select([self._read], [], [], max(left, 0))
                assert ready, f"no frame within {patience} s; output:\n{self.text()}"
                try:
                    data = os.read(self._read, 1 << 16)
                except ConnectionResetError:
                    data = b""
                assert data, f"the plugin closed the link; output:\n{self.text()}"
                *lines, self._rest = (self._rest + data).split(b"\n")
                self._lines.extend(line for line in lines if line)
            self.last = self._lines.popleft()
            frame: dict[str, Any] = json.loads(self.last)
            if frame.get("method") == "log":
                self.logs.append(frame["params"])
            else:
                return frame

    def expect(self, method: str) -> dict[str, Any]:
        frame = self.recv()
        assert frame.get("method") == method, (frame, self.text())
        return frame

    def ask(self, method: str, params: Any) -> Any:
        self._ids += 1
        self.send(id=self._ids, method=method, params=params)
        frame = self.recv()
        assert frame.get("id") == self._ids, (frame, self.text())
        return frame.get("result", frame.get("error"))

    def answer(self, request: dict[str, Any], result: Any) -> None:
        self.send(id=request["id"], result=result)

    def activate(self, **more: Any) -> Any:
        """Leads the plugin to its activation."""
        reply = self.ask("initialize", {**INITIALIZE, **more})
        self._ids += 1
        self.send(id=self._ids, method="instance.activate", params={"generation": 1})
        frames = [self.recv(), self.recv()]
        states = [frame["params"]["state"] for frame in frames if "method" in frame]
        assert states == ["ready"], (frames, self.text())
        return reply

    def event(
        self,
        id: str,
        payload: Any,
        *,
        topic: str = "plugin.outbound.echo.default",
        session: str | None = None,
        attempt: int = 1,
        **more: Any,
    ) -> None:
        """Hands an event over."""
        event = {
            "id": id,
            "timestamp": "2026-01-02T03:04:05Z",
            "topic": topic,
            "source": "client:test",
            "session_id": session,
            "payload": payload,
            **more,
        }
        delivery = {
            "id": f"d-{id}",
            "attempt": attempt,
            "redelivered": attempt > 1,
            "lease_ms": 30_000,
            "subscription": "instance.echo.default",
        }
        params = {"topic": topic, "event": event, "delivery": delivery}
        self.send(method="broker.event", params=params)

    def commit(self) -> dict[str, Any]:
        """Expects a commit, and answers that it is durable."""
        frame = self.expect("broker.commit")
        events = frame["params"].get("events", [])
        done = {"seq": 1, "duplicate": False, "matched": 1, "durable": True}
        self.answer(frame, {"events": [done for _ in events], "revisions": [], "stale": []})
        return frame["params"]

    # The process

    def close_link(self) -> None:
        os.close(self._read)
        if self._write != self._read:
            os.close(self._write)
        self._read = self._write = -1

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE_S) -> int:
        """Waits for the end of the process; gives its status."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            raise AssertionError(f"the process goes on; output:\n{self.text()}") from None

    def text(self) -> str:
        """Gives what the process has printed."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._read >= 0:
            self.close_link()
        self.output.close()


ECHO = """
from trunkline import Context, Json, Plugin, Reply, run

plugin = Plugin("echo")

@plugin.outbound("echo")
async def echo(payload: Json, ctx: Context) -> Reply:
    return Reply(payload)

run(plugin)
"""
