"""Group-relative advantages against plain Python."""

import math
import statistics
from typing import Literal

import pytest
import torch

from rlent.advantages import group_advantages

Scale = Literal["group", "batch", "none"]
EPSILON = 1e-4
SCALES: list[Scale] = ["group", "batch", "none"]
NAN = math.nan

REWARDS = {
    "plain": [1.0, 0.0, 0.5, 0.25, -1.0, 2.0, 0.0, 3.0],
    "one group has no spread": [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0],
    "no spread at all": [2.0] * 8,
    "some are not scored": [1.0, NAN, 0.0, 0.5, NAN, NAN, 3.0, 1.0],
    "one of a group is scored": [NAN, 0.7, NAN, NAN, 0.0, 1.0, 0.0, 0.0],
    "a whole group is not scored": [NAN] * 4 + [0.0, 1.0, 0.0, 2.0],
    "nothing is scored": [NAN] * 8,
}


def deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def plain_advantages(rewards: list[float], size: int, scale: Scale) -> list[float]:
    scored = [reward for reward in rewards if not math.isnan(reward)]
    advantages = []
    for first in range(0, len(rewards), size):
        group = rewards[first : first + size]
        kept = [reward for reward in group if not math.isnan(reward)]
        divisor = {
            "group": deviation(kept) + EPSILON,
            "batch": deviation(scored) + EPSILON,
            "none": 1.0,
        }
        for reward in group:
            centred = 0.0 if math.isnan(reward) else reward - statistics.fmean(kept)
            advantages.append(centred / divisor[scale])
    return advantages


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("rewards", REWARDS.values(), ids=REWARDS.keys())
def test_advantages_are_the_formula(rewards: list[float], scale: Scale, size: int) -> None:
    given = group_advantages(torch.tensor(rewards, dtype=torch.float64), size, scale)
    expected = plain_advantages(rewards, size, scale)
    assert given.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_equal_rewards_teach_nothing(scale: Scale) -> None:
    assert not group_advantages(torch.full((6,), 0.1), 3, scale).any()


@pytest.mark.parametrize("scale", SCALES)
def test_one_completion_per_prompt_teaches_nothing(scale: Scale) -> None:
    assert not group_advantages(torch.tensor([1.0, 0.0, NAN]), 1, scale).any()


@pytest.mark.parametrize("scale", SCALES)
def test_advantages_of_a_group_sum_to_zero(scale: Scale) -> None:
    rewards = torch.tensor(REWARDS["some are not scored"], dtype=torch.float64)
    sums = group_advantages(rewards, 4, scale).view(2, 4).sum(dim=1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-12)


def test_group_scaling_does_not_see_other_groups_and_batch_scaling_does() -> None:
    rewards = torch.tensor(REWARDS["plain"], dtype=torch.float64)
    louder = torch.cat([rewards[:4], 10 * rewards[4:]])
    unaffected: dict[Scale, bool] = {"group": True, "batch": False, "none": True}
    for scale, same in unaffected.items():
        first, second = (group_advantages(r, 4, scale)[:4] for r in (rewards, louder))
        assert torch.equal(first, second) == same


def test_the_rewards_are_left_alone() -> None:
    rewards = torch.tensor(REWARDS["some are not scored"])
    before = rewards.clone()
    group_advantages(rewards, 4, "group")
    torch.testing.assert_close(rewards, before, rtol=0, atol=0, equal_nan=True)
