"""Each rank scores its own completions with workers of its own: the rewards are those of one process."""

from pathlib import Path

import pytest

from rlent_rewards import REWARDS
from tests.distributed.processes import launch


@pytest.mark.slow
def test_two_ranks_score_as_one_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (one,) = launch("rewards.py", 1, tmp_path / "one")
    first, second = launch("rewards.py", 2, tmp_path / "two")
    assert one.keys() == first.keys() == {*REWARDS, "answers", "votes"}
    for name, scores in one.items():
        assert (first[name], second[name]) == (scores[::2], scores[1::2]), name
    assert len(one["answers"]) > 400
    assert 0.2 < sum(one["answers"]) / len(one["answers"]) < 0.8
    assert {score for vote in one["votes"] for score in vote} == {0.0, 1.0}
