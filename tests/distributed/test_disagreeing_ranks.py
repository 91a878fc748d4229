"""Ranks that see different things: they go on together, or all stop with the message of the one that failed."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.cases import ENGINES
from tests.distributed.failing_reward import with_failing_reward
from tests.distributed.processes import launch, rlent, run, run_under_torchrun, written
from tests.launch.conftest import recipe, workplace, write  # noqa: F401

TOGETHER = ("no variance", "nobody kept", "no forking token")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["data parallel", "zero 3"])
def test_a_rank_without_anything_to_learn_keeps_step(
    engine: str, tiny_folder: Path, tmp_path: Path
) -> None:
    section = json.dumps(ENGINES[engine])
    first, second = launch("disagree.py", 2, tmp_path, str(tiny_folder), section, *TOGETHER)
    for what in TOGETHER:
        steps = first[what]["steps"]
        assert len(steps) == len(second[what]["steps"]) == 2
        assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in steps)
    assert second["no forking token"]["selected"] == [0, 0]
    assert all(count > 0 for count in first["no forking token"]["selected"])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["data parallel", "zero 0", "zero 3"])
def test_a_step_that_is_not_finite_is_left_out_on_all_ranks(
    engine: str, tiny_folder: Path, tmp_path: Path
) -> None:
    section = json.dumps(ENGINES[engine])
    first, _ = launch("disagree.py", 2, tmp_path, str(tiny_folder), section, "nan skipped")
    rows = first["nan skipped"]["steps"]
    assert [row.get("non_finite/skipped_steps", 0) for row in rows] == [0, 1]
    assert math.isfinite(rows[0]["grad_norm"])
    assert not math.isfinite(rows[1]["grad_norm"])
    saved = sorted(path.name for path in tmp_path.glob("*/non_finite/*"))
    assert saved == ["step-2-rank-0.pt", "step-2-rank-1.pt"]


FAILURES = {
    "raises": (
        "RlentError: rank 1: RuntimeError: the reward cannot be had on rank 1",
        "RuntimeError: the reward cannot be had on rank 1",
    ),
    "infinite reward": ("RewardError: the reward reward is infinite for a completion",) * 2,
    "nan loss": (
        "NonFiniteError: step 2: the gradient (norm ",
        "NonFiniteError: step 2: the loss of micro-batch",
    ),
    "disk full": (
        "CheckpointError: checkpoint-2 could not be written: rank 1: OSError: [Errno 28] No space left on device",
        "CheckpointError: checkpoint-2 could not be written: [Errno 28] No space left on device",
    ),
}
"""What ranks 0 and 1 say where rank 1 fails."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "what"),
    [
        ("data parallel", "raises"),
        ("zero 3", "raises"),
        ("data parallel", "infinite reward"),
        ("zero 3", "nan loss"),
        ("data parallel", "disk full"),
        ("zero 3", "disk full"),
    ],
)
def test_all_ranks_stop_with_the_message_of_the_one_that_failed(
    engine: str, what: str, tiny_folder: Path, tmp_path: Path
) -> None:
    section = json.dumps(ENGINES[engine])
    result = run("disagree.py", 2, tmp_path, str(tiny_folder), section, what)
    assert time.time() - (tmp_path / "failing").stat().st_mtime < 60
    assert result.returncode != 0
    for rank, said in zip(written(tmp_path, 2), FAILURES[what], strict=True):
        assert rank[what]["error"].startswith(said)
    left = {path.name for path in (tmp_path / what).glob("*checkpoint*")}
    assert left == ({"checkpoint-1"} if what == "disk full" else set())


@pytest.mark.slow
def test_torchrun_ends_with_the_message(tiny_folder: Path, tmp_path: Path) -> None:
    section = json.dumps(ENGINES["data parallel"])
    result = run_under_torchrun("disagree.py", 2, tmp_path, str(tiny_folder), section, "raises")
    assert time.time() - (tmp_path / "failing").stat().st_mtime < 60
    assert result.returncode == 1
    assert "RuntimeError: the reward cannot be had on rank 1" in result.stderr


@pytest.mark.slow
def test_a_reward_that_fails_before_training_stops_all_with_its_message(
    recipe: dict[str, Any],  # noqa: F811
    write: Callable[..., str],  # noqa: F811
) -> None:
    path = write(with_failing_reward(recipe, from_completions=1))
    shown = rlent(2, "train", path)
    assert time.time() - Path("failing").stat().st_mtime < 60
    assert shown.returncode == 1
    assert "rank 1: KeyError: 'no column of that name'" in shown.stderr
