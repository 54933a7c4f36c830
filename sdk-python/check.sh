#!/usr/bin/env bash
# Builds the wheel as users get it, installs it into a fresh environment below target/, and runs there the tests and the
# type checkers; then once more in a project outside of the repository. `./check.sh --python <interpreter>` checks with
# another Python; TRUNKLINE_LONG=1 adds what takes minutes.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd .. && pwd)
python=python3
if [ "${1:-}" = --python ]; then
  python=$2
fi
home=$root/target/python
env=$home/$("$python" -c 'import sys; print("env%d.%d" % sys.version_info[:2])')
daemon=${TRUNKLINE_BIN:-$root/target/debug/trunkline}
[ -x "$daemon" ] || cargo build -q -p trunkline-broker --bin trunkline --manifest-path "$root/Cargo.toml"

rm -rf "$env" "$home/wheels"
"$python" -m venv "$env"
bin=$env/bin
"$bin/pip" install -q --disable-pip-version-check -r requirements.txt
"$bin/maturin" build --release --locked -q --out "$home/wheels" --compatibility linux
"$bin/pip" install -q --disable-pip-version-check --no-index "$home"/wheels/trunkline-*.whl

# From elsewhere, so that the installed package is tested, and not the sources beside it.
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cp -r tests README.md pyproject.toml "$elsewhere/"
export TRUNKLINE_BIN=$daemon TRUNKLINE_ROOT=$root
(cd "$elsewhere" && "$bin/python" -m pytest -q -p no:cacheprovider tests)
"$bin/python" -m mypy.stubtest trunkline._core
(cd "$elsewhere" && "$bin/python" -m mypy --config-file pyproject.toml tests/types_of_a_user.py)
"$bin/pyright" --pythonpath "$bin/python"
"$bin/ruff" check -q . && "$bin/ruff" format -q --check .

# A new project that knows nothing of this repository.
outside=$elsewhere/project
"$python" -m venv "$outside/env"
"$outside/env/bin/pip" install -q --disable-pip-version-check --no-index "$home"/wheels/trunkline-*.whl
"$bin/python" "$elsewhere/tests/outside.py" "$outside" "$outside/env/bin/python"
echo "python: ok, $("$bin/python" -V), $(ls "$home/wheels")"
