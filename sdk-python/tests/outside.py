"""Runs the echo plugin in a project outside of the repository: `outside.py <directory> <python>`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from daemon import Daemon
from peer import ECHO


def main() -> None:
    with Daemon(Path(sys.argv[1]), {"echo": ECHO}, sys.argv[2]) as daemon:
        daemon.wait_for(lambda: "  ready" in daemon.tail())
        daemon.run("publish", "plugin.outbound.echo", '{"text": "hello"}')
        daemon.wait_for(lambda: "plugin.delivery.echo.default  echo/default  sent" in daemon.tail())
    print("outside: the echo plugin echoed")


main()
