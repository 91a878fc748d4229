"""dynamic_sampling: which groups have variance, by plain loops."""

import math
from dataclasses import replace

import pytest
import torch

from rlent.interventions import DynamicSampling
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens

GROUPS = [5, 5, 2, 2, 9, 9, 7, 7]
REWARDS = [1.0, 0.0, 1.0, 1.0, math.nan, 0.0, 0.5, math.nan]


def rollouts_of(rewards: list[float], groups: list[int] = GROUPS) -> Rollouts:
    tokens = make_tokens(rows=len(rewards))
    made = make_rollouts(tokens)
    reward = torch.tensor(rewards, dtype=torch.float64)
    return replace(made, reward=reward, group=torch.tensor(groups, dtype=torch.int64))


def everyone(rollouts: Rollouts) -> torch.Tensor:
    return torch.ones(len(rollouts.reward), dtype=torch.bool)


@pytest.mark.parametrize("what", ["resample", "drop"])
def test_groups_without_variance_are_given_up(what: str) -> None:
    rollouts = rollouts_of(REWARDS)
    config = DynamicSampling(zero_variance=what)  # type: ignore[arg-type]
    keep, metrics = config.on_filter(rollouts, everyone(rollouts))
    assert keep.tolist() == [True, True, False, False, False, False, False, False]
    share = metrics["zero_variance_groups"]
    assert (int(share.total), share.count) == (3, 4)  # type: ignore[union-attr]


def test_random_groups_in_any_order() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        groups = torch.randint(0, 6, (24,), generator=generator).tolist()
        rewards = torch.randint(0, 2, (24,), generator=generator).double().tolist()
        before = torch.rand(24, generator=generator) < 0.7
        rollouts = rollouts_of(rewards, groups)
        keep, _ = DynamicSampling().on_filter(rollouts, before)
        for row, number in enumerate(groups):
            judged = {
                rewards[other]
                for other, group in enumerate(groups)
                if group == number and before[other]
            }
            assert bool(keep[row]) == (bool(before[row]) and len(judged) > 1)


def test_keep_only_counts() -> None:
    rollouts = rollouts_of(REWARDS)
    before = torch.arange(8) != 3
    keep, metrics = DynamicSampling(zero_variance="keep").on_filter(rollouts, before)
    assert torch.equal(keep, before)
    assert int(metrics["zero_variance_groups"].total) == 3  # type: ignore[union-attr]


def test_a_named_reward_is_judged_alone() -> None:
    rollouts = replace(
        rollouts_of([1.0, 0.9, 0.0, -0.5, 1.0, 1.0, 0.3, 0.0]),
        reward_parts=torch.tensor(
            [[1, 0], [1, -0.1], [0, 0], [0, -0.5], [1, 0], [0, 1], [0, 0.3], [0, 0]]
        ).double(),
        reward_names=("right", "length"),
    )
    keep, _ = DynamicSampling(reward="right").on_filter(rollouts, everyone(rollouts))
    assert keep.tolist() == [False] * 4 + [True] * 2 + [False] * 2
    keep, _ = DynamicSampling(reward="length").on_filter(rollouts, everyone(rollouts))
    assert keep.tolist() == [True] * 8


def test_no_rows() -> None:
    rollouts = rollouts_of([], [])
    keep, metrics = DynamicSampling().on_filter(rollouts, everyone(rollouts))
    assert keep.shape == (0,)
    assert metrics["zero_variance_groups"].count == 0  # type: ignore[union-attr]


def test_settings() -> None:
    assert DynamicSampling().resample_rounds == 10
    assert DynamicSampling(max_rounds=3).resample_rounds == 3
    assert DynamicSampling(zero_variance="drop").resample_rounds == 0
    assert DynamicSampling().named_rewards == set()
    assert DynamicSampling(reward="right").named_rewards == {"right"}
    assert DynamicSampling().needs == {"whole_groups"}
    with pytest.raises(ValueError, match="max_rounds"):
        DynamicSampling(max_rounds=0)
