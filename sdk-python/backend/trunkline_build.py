"""Builds the package: maturin's wheel, with the daemon and the program of pollers as its scripts.

`pip install ./sdk-python` calls the hooks below (PEP 517); `python backend/trunkline_build.py` only builds the programs, for
those who call maturin themselves. Cargo decides what is still fresh, so a second call is quick.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
SCRIPTS = PACKAGE / "trunkline.data" / "scripts"
PROGRAMS = ("trunkline", "trunkline-pollers")


def build_programs() -> None:
    """Builds the programs and copies them, without their symbols, to where maturin looks for scripts."""
    began = time.monotonic()
    print(
        "building the daemon: minutes the first time, seconds after that",
        file=sys.stderr,
        flush=True,
    )
    subprocess.run(["cargo", "programs"], cwd=PACKAGE, stdout=sys.stderr, check=True)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    said = subprocess.run(metadata, cwd=PACKAGE, stdout=subprocess.PIPE, check=True).stdout
    target = Path(json.loads(said)["target_directory"])
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        _put(target / "release" / name, SCRIPTS / name)
    print(f"built the daemon in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _put(program: Path, to: Path) -> None:
    # Beside it first: a program that runs is never written to.
    beside = to.with_name(to.name + ".new")
    strip = shutil.which("strip")
    if strip is None:
        shutil.copyfile(program, beside)
    else:
        subprocess.run([strip, "-o", str(beside), str(program)], check=True)
    beside.chmod(beside.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    os.replace(beside, to)


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the programs, then the wheel."""
    import maturin

    build_programs()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the programs, then a wheel that points at the sources."""
    import maturin

    build_programs()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Nothing beyond what `pyproject.toml` asks for."""
    return []


get_requires_for_build_editable = get_requires_for_build_wheel


if __name__ == "__main__":
    build_programs()
