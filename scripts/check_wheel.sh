#!/usr/bin/env bash
# Build the wheel with the Python given, unpack it alone into an empty folder, and import its three packages there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -m build --wheel --no-isolation --outdir "$folder/dist" . >"$folder/build.log" || { cat "$folder/build.log"; exit 1; }
"$python" -m pip install --quiet --no-deps --no-compile --target "$folder/site" "$folder"/dist/*.whl
cd "$folder"
PYTHONPATH="$folder/site" "$python" - <<'PYTHON'
import sys
from pathlib import Path

import rlent
import rlent_kernels
import rlent_rewards

for package in (rlent, rlent_kernels, rlent_rewards):
    folder = Path(package.__file__).parent
    assert folder.parent == Path(sys.path[1]), f"{package.__name__} came from {folder}, not from the wheel"
    assert (folder / "py.typed").exists(), f"{package.__name__} is not marked as typed"

# Files that are no Python: the page's template, style and scripts, and the style of figures.
import matplotlib.style
from rlent.report.page import write_page
from rlent.report.runs import RunFiles

here = Path(".")
Path("metrics.jsonl").write_text('{"step": 1, "reward": 1.0}\n', encoding="utf-8")
run = RunFiles(name="run", metrics=here / "metrics.jsonl", rollouts=here / "rollouts", recipe=here / "recipe.yaml")
write_page([run], here / "report.html")
matplotlib.style.use("rlent.report.print")
print("wheel: rlent, rlent_kernels and rlent_rewards import outside the repository, and a report can be written")
PYTHON
