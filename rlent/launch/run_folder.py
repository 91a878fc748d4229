"""The folder of a run: made once, found again by ``--resume``."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from rlent.config import Recipe, dump_recipe

RECIPE_FILE = "recipe.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
ROLLOUTS_FOLDER = "rollouts"
MODEL_FOLDER = "model"
EVALUATION_FOLDER = "evaluation"


def new_run_folder(recipe: Recipe) -> Path:
    """A path for a new run that no earlier run has: ``runs/name``, then ``runs/name-2`` and so on. Not yet made."""
    base = Path(recipe.output_dir) / recipe.name
    taken = runs_of(recipe)
    return (
        base if not base.exists() else base.with_name(f"{recipe.name}-{max(taken, default=1) + 1}")
    )


def write_run_folder(folder: Path, recipe: Recipe) -> None:
    """Make the folder, with the resolved recipe and the versions of everything that is installed."""
    folder.mkdir(parents=True)
    (folder / RECIPE_FILE).write_text(dump_recipe(recipe), encoding="utf-8")
    environment = {
        "command": sys.argv,
        "python": sys.version,
        "platform": platform.platform(),
        "git_revision": _git_revision(),
        "launch": launch_id(),
        "packages": {item.metadata["Name"]: item.version for item in distributions()},
    }
    (folder / ENVIRONMENT_FILE).write_text(
        json.dumps(environment, indent=2) + "\n", encoding="utf-8"
    )


def launch_id() -> str | None:
    """What torchrun or SLURM calls the launch, which a restart has in common with the first start."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("TORCHELASTIC_RUN_ID")


def runs_of(recipe: Recipe) -> dict[int, Path]:
    """Folders of the runs of this recipe's name, by their number."""
    pattern = re.compile(re.escape(recipe.name) + r"(?:-(\d+))?")
    folders = Path(recipe.output_dir).glob("*/")
    return {
        int(match[1] or 1): folder
        for folder in folders
        if (match := pattern.fullmatch(folder.name))
    }


def _git_revision() -> str | None:
    """Revision of the working directory's repository, marked ``+changes`` when files differ; None outside one."""
    if shutil.which("git") is None:
        return None
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
