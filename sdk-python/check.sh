#!/usr/bin/env bash
# Builds the wheel as users get it, installs it into a fresh environment below target/, and runs there the tests and the
# type checkers; then once more in a project outside of the repository. `./check.sh --python <interpreter>` checks with
# another Python, `--wheel <file>` what `tests/sdk/prepare` has built; TRUNKLINE_LONG=1 adds what takes minutes.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")"
root=$(cd .. && pwd)
python=python3 wheel=
while [ "$#" -gt 0 ]; do
  case $1 in
  --python) python=${2:?} ;;
  --wheel) wheel=$(cd "$from" && realpath "${2:?}") ;;
  *)
    echo "error: expected --python INTERPRETER or --wheel FILE, found $1" >&2
    exit 2
    ;;
  esac
  shift 2
done
home=$root/target/python
env=$home/$("$python" -c 'import sys; print("env%d.%d" % sys.version_info[:2])')
daemon=${TRUNKLINE_BIN:-$root/target/debug/trunkline}
[ -n "${TRUNKLINE_BIN:-}" ] || cargo -q daemon

rm -rf "$env" "$home/wheels"
"$python" -m venv "$env"
bin=$env/bin
"$bin/pip" install -q --disable-pip-version-check -r requirements.txt
if [ -z "$wheel" ]; then
  "$bin/python" backend/trunkline_build.py
  "$bin/maturin" build --release --locked -q --out "$home/wheels" --compatibility linux
  wheel=$(ls "$home"/wheels/trunkline-*.whl)
fi
"$bin/pip" install -q --disable-pip-version-check --no-index "$wheel"

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
"$outside/env/bin/pip" install -q --disable-pip-version-check --no-index "$wheel"
"$bin/python" "$elsewhere/tests/outside.py" "$outside" "$outside/env/bin/python"
echo "python: ok, $("$bin/python" -V), $(basename "$wheel")"
