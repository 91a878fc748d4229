"""quantile_advantage: the gate of the abstract, and the baseline by plain loops."""

import math
from dataclasses import replace
from statistics import stdev
from typing import Any

import pytest
import torch

from rlent.interventions import QuantileAdvantage
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number


def rollouts_of(reward: list[float], group: list[int]) -> Rollouts:
    made = make_rollouts(make_tokens(rows=len(reward), length=4))
    return replace(made, reward=torch.tensor(reward).double(), group=torch.tensor(group))


def by_loops(rewards: list[float], quantile: float, *, scale: bool) -> list[float]:
    baseline = min(
        r
        for r in rewards
        if sum(other <= r for other in rewards) / len(rewards) >= quantile - 1e-12
    )
    deviation = (stdev(rewards) if len(rewards) > 1 else 0.0) + 1e-4
    return [(r - baseline) / (deviation if scale else 1) for r in rewards]


@pytest.mark.parametrize("quantile", [0.25, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("correct", range(9))
def test_rare_successes_or_remaining_failures_are_learnt_from(
    quantile: float, correct: int
) -> None:
    rewards = [1.0] * correct + [0.0] * (8 - correct)
    config = QuantileAdvantage(quantile=quantile)
    after, metrics = config.on_advantages(rollouts_of(rewards, [0] * 8), torch.ones(8, 4).double())
    hard = correct / 8 <= 1 - quantile + 1e-12
    for reward, advantage in zip(rewards, after[:, 0].tolist(), strict=True):
        assert (advantage > 0) == (hard and reward == 1)
        assert (advantage < 0) == (not hard and reward == 0)
    assert after[:, 0].tolist() == pytest.approx(by_loops(rewards, quantile, scale=True))
    assert number(metrics["positive"]) == (correct / 8 if hard else 0)
    assert number(metrics["negative"]) == (0 if hard else 1 - correct / 8)


@pytest.mark.parametrize("scale", ["group", "none"])
def test_other_rewards_and_several_groups(scale: Any) -> None:
    nan = math.nan
    reward = [0.3, 2.0, -1.0, nan, 0.7, 5.0, 0.1, nan, 0.9]
    rollouts = rollouts_of(reward, [3, 3, 1, 1, 3, 1, 3, 8, 1])
    config = QuantileAdvantage(quantile=0.4, scale=scale)
    after, _ = config.on_advantages(rollouts, torch.full((9, 4), 2.0).double())
    expected = [0.0] * 9
    for rows in ([0, 1, 4, 6], [2, 5, 8]):
        values = by_loops([reward[i] for i in rows], 0.4, scale=scale == "group")
        for i, value in zip(rows, values, strict=True):
            expected[i] = value
    for row, value in enumerate(expected):
        assert after[row].tolist() == pytest.approx([value] * 4)


def test_the_count_is_exact_where_floats_are_not() -> None:
    """0.28 * 25 is 7.000000000000001 in floats, and 7 completions of 25 are enough."""
    rewards = [0.0] * 7 + [1.0] * 18
    config = QuantileAdvantage(quantile=0.28, scale="none")
    after, _ = config.on_advantages(rollouts_of(rewards, [0] * 25), torch.ones(25, 4).double())
    assert after[:, 0].tolist() == rewards


@pytest.mark.parametrize("quantile", [0.0, 1.0, math.nan])
def test_quantile_advantage_refuses(quantile: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        QuantileAdvantage(quantile=quantile)


def test_needs() -> None:
    assert QuantileAdvantage().needs == {"whole_groups"}
