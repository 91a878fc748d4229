"""trajectory_gtpo: conflict runs, the charge on entropy, and the threshold with its memory of the first batch."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import TrajectoryGTPO, chain
from rlent.interventions.trajectory_gtpo import TrajectoryGTPOStages, shared_run
from rlent.reduce import Reduce
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number

IDS = [
    [1, 2, 3, 4, 9, 8],
    [1, 2, 5, 4, 9],
    [1, 7, 3, 9],
    [1, 2, 3, 4, 9, 8],
    [6, 6, 6],
]
SIGNS = [1.0, -1.0, -1.0, 0.0, 1.0]


def run_by_loops(tokens: list[list[int]], signs: list[float]) -> list[int]:
    found = []
    for sequence, sign in zip(tokens, signs, strict=True):
        length = 0
        for place, token in enumerate(sequence):
            sides = {
                s
                for other, s in zip(tokens, signs, strict=True)
                if len(other) > place and other[place] == token
            }
            if sign == 0 or not {1.0, -1.0} <= sides:
                break
            length += 1
        found.append(length)
    return found


def rollouts_of(ids: list[list[int]], entropy: list[float]) -> Rollouts:
    width = max(map(len, ids))
    mask = torch.tensor([[place < len(row) for place in range(width)] for row in ids])
    made = make_rollouts(make_tokens(rows=len(ids), length=width, mask=mask))
    padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    entropies = torch.tensor(entropy, dtype=torch.float64).unsqueeze(1).expand(len(ids), width)
    return replace(
        made,
        completion_ids=padded,
        old_entropy=torch.where(mask, entropies, math.nan),
        group=torch.zeros(len(ids), dtype=torch.int64),
    )


def advantages(signs: list[float], width: int) -> torch.Tensor:
    return torch.tensor(signs, dtype=torch.float64).unsqueeze(1).repeat(1, width)


def test_runs_from_the_start() -> None:
    assert shared_run(IDS, SIGNS) == run_by_loops(IDS, SIGNS) == [5, 2, 1, 0, 0]
    assert shared_run([], []) == []
    assert shared_run([[1, 2], [1, 2]], [1.0, -1.0]) == [2, 2]
    assert shared_run([[1, 2], [1, 2]], [1.0, 1.0]) == [0, 0]
    assert shared_run([[], [1]], [1.0, -1.0]) == [0, 0]


def test_runs_of_random_sequences() -> None:
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        lengths = torch.randint(0, 6, (5,), generator=g).tolist()
        tokens = [torch.randint(0, 2, (length,), generator=g).tolist() for length in lengths]
        signs = [float(s) for s in torch.randint(-1, 2, (5,), generator=g)]
        assert shared_run(tokens, signs) == run_by_loops(tokens, signs)


def test_conflict_tokens_are_spared_in_wrong_and_doubled_in_right_completions() -> None:
    ids = [[1, 2, 3, 9], [1, 4, 5, 5, 9], [7, 7, 8]]
    rollouts = rollouts_of(ids, [0.5, 0.5, 0.5])
    given = advantages([2.0, -3.0, 1.0], 5)
    config = TrajectoryGTPO(threshold=None, charge=0.0)
    after, metrics = chain([config]).on_advantages(rollouts, given)
    assert after[0].tolist() == [4.0, 2.0, 2.0, 4.0, 2.0]
    assert after[1].tolist() == [-0.0, -3.0, -3.0, -3.0, -0.0]
    assert after[2].tolist() == [1.0] * 5
    assert number(metrics["trajectory_gtpo/conflict"]) == 4 / 12
    # Tokens of the three: 4 + 2 + 2 + 4, -3 - 3 - 3 and 3.
    assert number(metrics["trajectory_gtpo/advantage"]) == pytest.approx(6 / 12)
    other, _ = chain([replace(config, reward_conflict=1.0)]).on_advantages(rollouts, given)
    assert other[0].tolist() == [2.0] * 5
    assert other[1].tolist() == after[1].tolist()
    apart = replace(rollouts, group=torch.tensor([0, 1, 0]))
    same, _ = chain([config]).on_advantages(apart, given)
    assert torch.equal(same, given)


def test_the_released_code_multiplies_the_runs_and_divides_by_the_conflicts() -> None:
    rollouts = rollouts_of([[1, 2], [1, 2], [3, 2]], [0.5] * 3)
    given = advantages([1.0, -1.0, -1.0], 2)
    config = TrajectoryGTPO(charge=0.0)
    after, _ = chain([config]).on_advantages(rollouts, given)
    assert after.tolist() == [[2.0, 2.0], [-0.0, -0.0], [-1.0, -0.0]]
    released, _ = chain([replace(config, as_released=True)]).on_advantages(rollouts, given)
    assert released.tolist() == [[2.0, 2.0], [-0.0, -0.0], [-1.0, -0.0]]
    # All of the first completion is in both runs: 4 on each token, divided by its 3 conflict tokens.
    longer = rollouts_of([[1, 2, 3], [1, 4, 4], [5, 2, 3]], [0.5] * 3)
    released, _ = chain([replace(config, as_released=True)]).on_advantages(
        longer, advantages([1.0, -1.0, -1.0], 3)
    )
    assert released[0].tolist() == pytest.approx([4 / 3] * 3)
    assert released[1].tolist() == [-0.0, -1.0, -1.0]
    assert released[2].tolist() == [-0.5, -0.0, -0.0]


def test_entropy_is_charged_and_unsure_completions_are_given_up() -> None:
    rollouts = rollouts_of([[1, 2], [3], [4, 4]], [0.2, 0.69, 0.9])
    given = advantages([1.0, -1.0, 0.5], 2)
    config = TrajectoryGTPO(charge=0.5, conflicts=False)
    after, metrics = chain([config]).on_advantages(rollouts, given)
    assert after[:, 0].tolist() == pytest.approx([0.9, -1.345, 0.0])
    assert number(metrics["trajectory_gtpo/unsure"]) == pytest.approx(1 / 3)
    assert number(metrics["trajectory_gtpo/entropy"]) == pytest.approx((0.2 + 0.69 + 0.9) / 3)
    nearer, _ = chain([replace(config, threshold=0.5)]).on_advantages(rollouts, given)
    # The first batch's own mean is (2 * 0.2 + 0.69 + 2 * 0.9) / 5 = 0.578, above the threshold: nothing is given up.
    assert nearer[:, 0].tolist() == pytest.approx([0.9, -1.345, 0.05])


def test_the_released_threshold() -> None:
    rollouts = rollouts_of([[1], [2], [3]], [0.698, 0.702, 3.0])
    given = advantages([1.0, 1.0, 1.0], 1)
    config = TrajectoryGTPO(charge=0.0, conflicts=False, as_released=True)
    assert config.threshold == 0.7
    after, _ = chain([config]).on_advantages(rollouts, given)
    assert after[:, 0].tolist() == [1.0, 0.0, 0.0]


def test_the_initial_entropy_is_that_of_the_first_batch_and_in_the_checkpoint() -> None:
    sure, unsure = rollouts_of([[1], [2]], [0.1, 0.2]), rollouts_of([[1], [2]], [2.0, 0.3])
    given = advantages([1.0, 1.0], 1)
    config = TrajectoryGTPO(charge=0.0, conflicts=False)
    links = chain([config])
    links.on_advantages(sure, given)
    assert links.state_dict() == {"trajectory_gtpo": {"initial": pytest.approx(0.15)}}
    assert links.on_advantages(unsure, given)[0][:, 0].tolist() == [0.0, 1.0]
    again = chain([config])
    again.load_state_dict(links.state_dict())
    assert again.on_advantages(unsure, given)[0][:, 0].tolist() == [0.0, 1.0]
    fresh = chain([config])
    assert fresh.on_advantages(unsure, given)[0][:, 0].tolist() == [1.0, 1.0]


def test_an_evaluation_moves_no_state() -> None:
    stages = TrajectoryGTPOStages(TrajectoryGTPO())
    rollouts = replace(rollouts_of([[1], [2]], [0.1, 0.2]), train=False)
    stages.on_advantages(rollouts, advantages([1.0, 1.0], 1))
    assert stages.state_dict() == {"initial": None}


def test_the_initial_entropy_is_that_of_all_ranks() -> None:
    rollouts = rollouts_of([[1], [2]], [0.1, 0.2])
    double = Reduce(
        sum=lambda value: value + 4, world_size=2
    )  # another rank of 4 tokens and 4 nats
    stages = TrajectoryGTPOStages(TrajectoryGTPO())
    stages.on_advantages(replace(rollouts, reduce=double), advantages([1.0, 1.0], 1))
    assert stages.state_dict()["initial"] == pytest.approx(4.3 / 6)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": math.inf}, "threshold"),
        ({"charge": -0.1}, "charge"),
        ({"reward_conflict": math.nan}, "reward_conflict"),
        ({"conflicts": False, "reward_conflict": 3.0}, "reward_conflict has no effect"),
        ({"threshold": 0.5, "as_released": True}, "as_released means threshold"),
        ({"threshold": None, "as_released": True}, "as_released means threshold"),
    ],
)
def test_trajectory_gtpo_refuses(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TrajectoryGTPO(**settings)


def test_needs() -> None:
    assert TrajectoryGTPO().needs == {"old_entropy", "whole_groups"}
    assert TrajectoryGTPO(conflicts=False).needs == {"old_entropy"}
    assert TrajectoryGTPO(threshold=None, charge=0.0).needs == {"whole_groups"}
