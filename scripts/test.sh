#!/usr/bin/env bash
# Everything that CI runs: lint, types, tests, and a wheel that imports outside the repository. Makes the environment if
# it is not there. Arguments go to pytest in place of the whole suite: scripts/test.sh tests/laws -k forking
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/environment.sh
make_environment "${RLENT_VENV:-.venv}" dev
install_model # for the tests that are marked slow

if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi

"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/pyright" --pythonpath "$python"
bash scripts/check_wheel.sh "$python"
# Two files at once, in the order of tests/conftest.py; those that measure time not beside others that take all cores.
together=(-n 2 --dist loadfile --no-loadscope-reorder)
OMP_NUM_THREADS=1 "$python" -m pytest "${together[@]}" -m "not alone"
OMP_NUM_THREADS=1 "$python" -m pytest "${together[@]}" -m alone
