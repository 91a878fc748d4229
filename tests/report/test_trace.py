"""The flat arrays of a run are its rows, one after another."""

from pathlib import Path

import numpy as np
import pytest

from rlent.report.trace import read_trace
from tests.report.runs import completion, trace, write_run

ROWS = [
    completion(["a", " b"], [0.1, 0.2], step=0, reward=1.0),
    completion([], [], step=0, group=1, prompt="empty"),
    completion([" b", "c", "a"], [0.3, 0.4, 0.5], step=1, selected=[True, False, True]),
]


def test_tokens_are_laid_out_in_the_order_of_the_rows(tmp_path: Path) -> None:
    read = read_trace(write_run(tmp_path / "run", ROWS) / "rollouts")
    assert read is not None
    assert [read.vocabulary[i] for i in read.text] == ["a", " b", " b", "c", "a"]
    assert read.entropy.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert read.selected.tolist() == [True, True, True, False, True]
    assert read.length.tolist() == [2, 0, 3]
    assert read.start.tolist() == [0, 2, 2]
    assert read.step.tolist() == [0, 0, 1]
    assert [read.prompts[i] for i in read.prompt] == ["1 + 1 =", "empty", "1 + 1 ="]
    assert {name: part.tolist() for name, part in read.parts.items()} == {"right": [1.0, 0.0, 0.0]}
    assert read.position().tolist() == [0, 1, 0, 1, 2]
    assert read.per_token(read.reward).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert read.completions_at(np.array([2, 0])).tolist() == [2, 3, 4, 0, 1]


def test_a_run_without_rollouts_has_no_trace(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "rollouts") is None


def test_columns_that_older_runs_lack(tmp_path: Path) -> None:
    old = trace(ROWS)
    assert old.clipped is None
    assert old.preserved is None
    new = trace([completion(["a", "b"], [0, 1], clipped=[True, False], preserved=[False, False])])
    assert new.clipped is not None
    assert new.clipped.tolist() == [True, False]
    resumed = [
        completion(["a"], [0.0], step=0),
        completion(["a"], [0.0], step=1, clipped=[True], preserved=[True]),
    ]
    mixed = read_trace(write_run(tmp_path / "run", resumed) / "rollouts")
    assert mixed is not None
    assert mixed.clipped is None


def test_a_reward_that_could_not_be_scored_stays_one() -> None:
    row = completion(["a"], [0.0])
    row["reward"] = float("nan")
    assert np.isnan(trace([row]).reward).all()
