"""passk_advantage: against every k-subset, written out."""

import math
from dataclasses import replace
from itertools import combinations
from statistics import fmean, pstdev

import pytest
import torch

from rlent.interventions import PassKAdvantage
from rlent.interventions.passk_advantage import passk_advantages
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number


def by_subsets(rewards: list[int], k: int) -> list[float]:
    """Each completion's mean, over its k-subsets, of the standardised reward of the subset."""
    subsets = list(combinations(range(len(rewards)), k))
    best = [max(rewards[i] for i in subset) for subset in subsets]
    mean, deviation = fmean(best), pstdev(best)
    if deviation == 0:
        return [0.0] * len(rewards)
    return [
        fmean(
            (b - mean) / deviation for b, subset in zip(best, subsets, strict=True) if i in subset
        )
        for i in range(len(rewards))
    ]


@pytest.mark.parametrize("completions", [2, 5, 7])
def test_the_closed_form_is_the_mean_over_all_subsets(completions: int) -> None:
    for k in range(1, completions + 1):
        for correct in range(completions + 1):
            rewards = [1] * correct + [0] * (completions - correct)
            right, wrong = passk_advantages(completions, correct, k)
            expected = by_subsets(rewards, k)
            given = [right if reward else wrong for reward in rewards]
            assert given == pytest.approx(expected, abs=1e-9), (k, correct)


def rollouts_of(reward: list[float], group: list[int]) -> Rollouts:
    made = make_rollouts(make_tokens(rows=len(reward), length=4))
    return replace(made, reward=torch.tensor(reward).double(), group=torch.tensor(group))


def test_groups_are_apart_and_completions_without_a_score_do_not_count() -> None:
    nan = math.nan
    rollouts = rollouts_of([1, 3, 0, 0, 1, 0, nan, 0, nan, 1], [0, 1, 0, 1, 0, 1, 0, 0, 2, 2])
    given = torch.full((10, 4), 9.0, dtype=torch.float64)
    after, metrics = PassKAdvantage(k=2).on_advantages(rollouts, given)
    first, second = by_subsets([1, 0, 1, 0], 2), by_subsets([1, 0, 0], 2)
    expected = [first[0], second[0], first[1], second[1], first[2], second[2], 0, first[3], 0, 0]
    for row, value in enumerate(expected):
        assert after[row].tolist() == pytest.approx([value] * 4, abs=1e-12)
    # Of the subsets 5 of 6 and 2 of 3 pass; the last prompt has a single scored completion, which passes.
    assert number(metrics["pass"]) == pytest.approx((5 / 6 + 2 / 3 + 1) / 3)
    assert number(metrics["correct"]) == 4 / 8


def test_what_is_correct_may_be_another_reward_or_threshold() -> None:
    rollouts = rollouts_of([1, 0, 0, 0], [0, 0, 0, 0])
    rollouts = replace(rollouts, reward_parts=torch.tensor([[0.2], [0.9], [0.4], [0.2]]).double())
    one = torch.ones(4, 4, dtype=torch.float64)
    after, _ = PassKAdvantage(k=2, reward="right").on_advantages(rollouts, one)
    assert after[:, 0].tolist() == pytest.approx(by_subsets([0, 1, 0, 0], 2))
    after, _ = PassKAdvantage(k=2, reward="right", correct=0.3).on_advantages(rollouts, one)
    assert after[:, 0].tolist() == pytest.approx(by_subsets([0, 1, 1, 0], 2))


def test_with_one_completion_it_is_grpo_with_the_biased_deviation() -> None:
    right, wrong = passk_advantages(8, 2, 1)
    deviation = math.sqrt(0.25 * 0.75)
    assert (right, wrong) == pytest.approx((0.75 / deviation, -0.25 / deviation))


def test_the_number_is_checked() -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        PassKAdvantage(k=0)
    assert PassKAdvantage().smallest_group == 4
    assert PassKAdvantage(k=None).smallest_group == 1
    assert PassKAdvantage().needs == {"whole_groups"}
    assert PassKAdvantage(reward="right").named_rewards == {"right"}
    assert PassKAdvantage().named_rewards == set()
