"""hapo_advantage: the token-weighted baseline by plain loops, and groups that keep what they had."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import HAPOAdvantage
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number

GROUP = [5, 5, 2, 5, 2, 2, 7, 7]
REWARD = [1.0, 0.0, 0.3, 0.5, 0.3, 0.3, 0.0, math.nan]


def rollouts_of(reward: list[float], lengths: list[int]) -> Rollouts:
    mask = torch.arange(9).expand(len(reward), 9) < torch.tensor(lengths).unsqueeze(1)
    made = make_rollouts(make_tokens(rows=len(reward), length=9, mask=mask))
    return replace(made, reward=torch.tensor(reward).double(), group=torch.tensor(GROUP))


def by_loops(rollouts: Rollouts, *, scale: bool) -> list[float]:
    reward, lengths = rollouts.reward.tolist(), rollouts.mask.sum(1).tolist()
    found = [0.0] * len(reward)
    for name in set(GROUP):
        rows = [i for i, g in enumerate(GROUP) if g == name and not math.isnan(reward[i])]
        tokens = [reward[i] for i in rows for _ in range(lengths[i])]
        mean = sum(tokens) / len(tokens)
        std = math.sqrt(sum((value - mean) ** 2 for value in tokens) / len(tokens))
        for i in rows:
            found[i] = (reward[i] - mean) / (std + 1e-6 if scale else 1)
    return found


@pytest.mark.parametrize("scale", ["group", "none"])
def test_every_token_of_a_group_has_the_same_weight(scale: Any) -> None:
    rollouts = rollouts_of(REWARD, [3, 9, 2, 5, 8, 1, 4, 4])
    given = torch.full((8, 9), 7.0, dtype=torch.float64)
    after, metrics = HAPOAdvantage(scale=scale).on_advantages(rollouts, given)
    expected = by_loops(rollouts, scale=scale == "group")
    for row, value in enumerate(expected):
        assert after[row].tolist() == pytest.approx([value] * 9, abs=1e-9)
    summed = (after * rollouts.mask)[torch.tensor(GROUP) == 5].sum().item()
    assert summed == pytest.approx(0.0, abs=1e-9)
    assert number(metrics["kept"]) == 0.0
    largest = {
        g: max(abs(v) for v, h in zip(expected, GROUP, strict=True) if g == h) for g in GROUP
    }
    assert number(metrics["largest"]) == pytest.approx(sum(largest.values()) / 3, abs=1e-9)


def test_a_group_with_a_large_advantage_keeps_what_it_had() -> None:
    rollouts = rollouts_of(REWARD, [1, 9, 2, 9, 8, 1, 4, 4])
    expected = by_loops(rollouts, scale=True)
    assert max(map(abs, expected)) == abs(expected[0])
    given = torch.randn(8, 9, dtype=torch.float64)
    limit = abs(expected[0]) - 0.01
    after, metrics = HAPOAdvantage(limit=limit).on_advantages(rollouts, given)
    rows = torch.tensor(GROUP) == 5
    assert torch.equal(after[rows], given[rows])
    assert after[~rows].abs().max() < 1e-6
    assert number(metrics["kept"]) == 3 / 8
    above, _ = HAPOAdvantage(limit=abs(expected[0]) + 0.01).on_advantages(rollouts, given)
    assert above[0, 0].item() == pytest.approx(expected[0])


def test_equal_float32_rewards_give_exactly_nothing() -> None:
    rollouts = rollouts_of([0.7] * 8, [3, 9, 2, 5, 8, 1, 4, 4])
    rollouts = replace(rollouts, reward=rollouts.reward.float())
    after, _ = HAPOAdvantage().on_advantages(rollouts, torch.ones(8, 9))
    assert after.dtype == torch.float32
    assert after.abs().max() < 1e-6


def test_a_completion_without_tokens_has_no_advantage() -> None:
    rollouts = rollouts_of(REWARD, [3, 0, 2, 5, 8, 1, 4, 4])
    after, _ = HAPOAdvantage().on_advantages(rollouts, torch.ones(8, 9).double())
    assert (after[1] == 0).all()
    mean = (3 * 1.0 + 5 * 0.5) / 8
    std = math.sqrt((3 * (1 - mean) ** 2 + 5 * (0.5 - mean) ** 2) / 8)
    assert after[0, 0].item() == pytest.approx((1 - mean) / (std + 1e-6))


@pytest.mark.parametrize("limit", [-1.0, math.inf, math.nan])
def test_hapo_advantage_refuses(limit: float) -> None:
    with pytest.raises(ValueError, match="limit"):
        HAPOAdvantage(limit=limit)


def test_needs() -> None:
    assert HAPOAdvantage().needs == {"whole_groups"}
