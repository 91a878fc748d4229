"""What docs/adding-an-intervention.md promises: one file and one line of the table are a recipe under the laws."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COPIED = (
    "rlent",
    "kernels",
    "rewards",
    "pyproject.toml",
    *(f"tests/{name}" for name in ("__init__.py", "conftest.py", "ranks.py", "tiny.py", "laws")),
    *(f"tests/interventions/{name}" for name in ("__init__.py", "examples.py")),
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The library and its laws, with the page's example added as the page says."""
    folder = tmp_path / "copy"
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    page = (ROOT / "docs" / "adding-an-intervention.md").read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    room = folder / "rlent" / "interventions"
    (room / "doubt_weight.py").write_text(example)
    table = (room / "__init__.py").read_text()
    table = table.replace(
        "\n\nTABLE", "\nfrom rlent.interventions.doubt_weight import DoubtWeight\n\nTABLE", 1
    )
    table = table.replace("    for cls in (\n", "    for cls in (\n        DoubtWeight,\n", 1)
    (room / "__init__.py").write_text(table)
    return folder


def run(copy: Path, *command: str, directory: Path) -> str:
    paths = [str(copy / name) for name in ("", "kernels", "rewards")]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_one_file_and_one_line_obey_the_laws(copy: Path) -> None:
    laws = ("pytest", "tests/laws", "-q", "-p", "no:cacheprovider", "-k", "oubt")
    shown = run(copy, *laws, directory=copy)
    assert int(re.findall(r"(\d+) passed", shown)[-1]) >= 15


@pytest.mark.slow
def test_one_file_and_one_line_are_a_working_recipe(
    copy: Path, recipe: dict[str, Any], write: Callable[..., str]
) -> None:
    recipe["interventions"] = [{"doubt_weight": {"scale": 0.3}}, "forking_tokens"]
    recipe["trainer"] |= {"max_steps": 1}
    recipe["evaluation"] = None
    run(copy, "rlent", "train", write(recipe), directory=Path.cwd())
    (metrics,) = Path("runs").glob("*/metrics.jsonl")
    assert '"doubt_weight/weight": 0.' in metrics.read_text()
