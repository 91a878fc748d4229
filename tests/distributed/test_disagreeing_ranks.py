"""Ranks that see different things: they go on together, or all stop with the message of the one that failed."""

import json
import math
import time
from pathlib import Path

import pytest

from tests.distributed.cases import ENGINES
from tests.distributed.processes import launch, run, run_under_torchrun

TOGETHER = ("no variance", "nobody kept", "no forking token")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["data parallel", "zero 3"])
def test_a_rank_without_anything_to_learn_keeps_step(
    engine: str, tiny_folder: Path, tmp_path: Path
) -> None:
    section = json.dumps(ENGINES[engine])
    first, second = launch("disagree.py", 2, tmp_path, str(tiny_folder), section, *TOGETHER)
    for what in TOGETHER:
        assert len(first[what]) == len(second[what]) == 2
        assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in first[what])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["data parallel", "zero 0", "zero 3"])
def test_a_step_that_is_not_finite_is_left_out_on_all_ranks(
    engine: str, tiny_folder: Path, tmp_path: Path
) -> None:
    section = json.dumps(ENGINES[engine])
    first, _ = launch("disagree.py", 2, tmp_path, str(tiny_folder), section, "nan skipped")
    rows = first["nan skipped"]
    assert [row.get("non_finite/skipped_steps", 0) for row in rows] == [0, 1]
    assert math.isfinite(rows[0]["grad_norm"])
    assert not math.isfinite(rows[1]["grad_norm"])
    saved = sorted(path.name for path in tmp_path.glob("*/non_finite/*"))
    assert saved == ["step-2-rank-0.pt", "step-2-rank-1.pt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "what", "message"),
    [
        ("data parallel", "raises", "RuntimeError: the reward cannot be had on rank 1"),
        ("zero 3", "raises", "RuntimeError: the reward cannot be had on rank 1"),
        ("data parallel", "infinite reward", "the reward reward is infinite for a completion"),
        ("zero 3", "nan loss", "is not finite; the run stops with the weights of the step before"),
    ],
)
def test_all_ranks_stop_with_the_message_of_the_one_that_failed(
    engine: str, what: str, message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    section = json.dumps(ENGINES[engine])
    result = run("disagree.py", 2, tmp_path, str(tiny_folder), section, what)
    assert result.returncode != 0
    assert message in result.stderr
    assert time.monotonic() - began < 90  # a minute from the failure on, and the start


@pytest.mark.slow
def test_torchrun_tells_which_rank_has_failed(tiny_folder: Path, tmp_path: Path) -> None:
    section = json.dumps(ENGINES["data parallel"])
    result = run_under_torchrun(
        "disagree.py", 2, tmp_path, str(tiny_folder), section, "infinite reward"
    )
    assert result.returncode == 1
    assert "the reward reward is infinite for a completion" in result.stderr
    assert "rank      : 1" in result.stderr
