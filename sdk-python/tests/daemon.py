"""A real daemon in a directory of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE_S = 20.0
ROOT = Path(os.environ.get("TRUNKLINE_ROOT") or Path(__file__).resolve().parent.parent.parent)


def binary() -> str:
    found = os.environ.get("TRUNKLINE_BIN", str(ROOT / "target/debug/trunkline"))
    if not os.access(found, os.X_OK):
        pytest.fail(f"no daemon at {found}; hint: cargo daemon, or TRUNKLINE_BIN")
    return found


class Daemon:
    """The daemon, with a plugin for each script."""

    def __init__(
        self, home: Path, plugins: dict[str, str] | None = None, python: str = sys.executable
    ) -> None:
        self.home = home
        self.log = home / "daemon.log"
        config = ['plugin_dirs = ["plugins"]']
        (home / "plugins").mkdir(parents=True, exist_ok=True)
        for name, script in (plugins or {}).items():
            folder = home / "plugins" / name
            folder.mkdir(exist_ok=True)
            (folder / "plugin.py").write_text(script)
            (folder / "plugin.toml").write_text(
                f'[plugin]\nid = "{name}"\nversion = "0.1.0"\ncommand = ["{python}", "plugin.py"]\n'
                f'[[channels]]\nkind = "{name}"\n'
            )
            config.append(f"[[plugins.{name}]]")
        (home / "trunkline.toml").write_text("\n".join(config) + "\n")
        self.env = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Daemon:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "up", "--set", "http.listen=127.0.0.1:0"],
                cwd=self.home,
                env=self.env,
                stdout=log,
                stderr=log,
            )
        self.wait_for(self.is_up)
        return self

    def is_up(self) -> bool:
        return self.run("status", check=False).returncode == 0

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [binary(), *args],
            cwd=self.home,
            env=self.env,
            capture_output=True,
            text=True,
            check=check,
            timeout=PATIENCE_S,
        )

    def tail(self) -> str:
        return self.run("tail", "--start", "earliest", "--no-follow").stdout

    def wait_for(self, true: Callable[[], bool]) -> None:
        """Waits for what another process does, which no event here tells."""
        until = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
