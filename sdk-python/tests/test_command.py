"""The command that comes with the wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trunkline

SCRIPTS = Path(sys.executable).parent


def test_pip_puts_the_programs_beside_the_interpreter_and_they_are_of_its_version() -> None:
    said = subprocess.run(
        [SCRIPTS / "trunkline", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == f"trunkline {trunkline.__version__}"
    # The daemon looks for it beside itself.
    pollers = subprocess.run(
        [SCRIPTS / "trunkline-pollers"], capture_output=True, text=True, cwd="/", check=False
    )
    assert "plugin.toml" in pollers.stderr


def test_the_command_ends_with_the_status_of_a_wrong_call() -> None:
    wrong = subprocess.run(
        [SCRIPTS / "trunkline", "no-such-command"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "no-such-command" in wrong.stderr
