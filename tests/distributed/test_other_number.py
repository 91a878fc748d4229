"""A run that goes on with another number of processes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.cases import largest_difference
from tests.distributed.processes import rlent
from tests.launch.conftest import recipe, workplace, write  # noqa: F401

ROWS = 4
"""Completions of all processes in a micro-batch."""


def train(path: str, processes: int, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    rows = f"trainer.per_device_train_batch_size={ROWS // processes}"
    return rlent(processes, "train", path, f"name={name}", rows, *more)


def steps(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


def cut_back(run: Path, name: str, step: int) -> None:
    """A copy of ``run`` as it was after a checkpoint."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "model")
    for checkpoint in copy.glob("checkpoint-*"):
        if checkpoint.name != f"checkpoint-{step}":
            shutil.rmtree(checkpoint)


@pytest.fixture
def sharded(recipe: dict[str, Any], write: Callable[..., str]) -> str:  # noqa: F811
    recipe["rewards"] = [{"python_function": {"function": "tests.trainer.helpers.digits_reward"}}]
    recipe["trainer"] |= {"max_steps": 7, "save_steps": 3, "save_total_limit": 5}
    recipe["trainer"]["lr_scheduler_type"] = "constant"
    recipe["evaluation"] = None
    return write(recipe)


def go_on(path: str, engine: str, before: int, after: int) -> tuple[list[Any], list[Any]]:
    """Steps of a whole run, and of one that has changed its number of processes after step 3."""
    whole = train(path, before, "whole", f"engine.{engine}")
    assert whole.returncode == 0, whole.stderr[-3000:]
    cut_back(Path("runs/whole"), "other", 3)
    other = train(path, after, "other", f"engine.{engine}", "--resume")
    assert other.returncode == 0, other.stderr[-3000:]
    assert "resumed from checkpoint-3" in other.stdout
    one, two = steps(Path("runs/whole")), steps(Path("runs/other"))
    assert len(one) == len(two) == 7
    assert all(row["grad_norm"] > 0 for row in one[3:])
    return one, two


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "before", "after"), [("zero=null", 2, 1), ("zero=1", 1, 2), ("zero=2", 2, 1)]
)
def test_it_goes_on_as_the_run_that_kept_its_number(
    sharded: str, engine: str, before: int, after: int
) -> None:
    one, two = go_on(sharded, engine, before, after)
    assert largest_difference(one, two, parts=True) < 1e-5


@pytest.mark.slow
def test_under_stage_3_the_weights_come_back_and_the_optimiser_nearly(sharded: str) -> None:
    """DeepSpeed's universal checkpoint of stage 3 does not give back the optimiser to the last bit."""
    one, two = go_on(sharded, "zero=3", 2, 1)
    assert largest_difference(one[:4], two[:4], parts=True) < 1e-5
    assert largest_difference(one[:5], two[:5], parts=True) < 1e-3


@pytest.mark.slow
def test_rollouts_that_wait_keep_the_number(sharded: str) -> None:
    """In the middle of a generation batch every process holds a part of it."""
    options = ("trainer.steps_per_generation=4", "trainer.max_steps=4")
    assert train(sharded, 2, "waiting", *options).returncode == 0
    cut_back(Path("runs/waiting"), "other", 3)
    other = train(sharded, 1, "other", *options, "--resume")
    assert other.returncode == 1
    assert "holds rollouts of which 2 processes have a part each" in other.stderr
    assert "change: resume with 2 processes" in other.stderr


@pytest.mark.slow
def test_another_batch_is_refused(sharded: str) -> None:
    assert train(sharded, 1, "small", "trainer.max_steps=3").returncode == 0
    cut_back(Path("runs/small"), "other", 3)
    more = ("trainer.gradient_accumulation_steps=4", "--resume")
    other = train(sharded, 1, "other", *more)
    assert other.returncode == 1
    assert "written with 8 rows in an optimiser step, this run has 16" in other.stderr
