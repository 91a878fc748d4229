"""entrocraft: which half is learnt from, and how the bounds move."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import Entrocraft
from rlent.reduce import Reduce
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number

GIVEN = torch.tensor([[0.3], [-0.4], [0.2]], dtype=torch.float64).expand(3, 4)


def rollouts_of(entropy: float, step: int = 0) -> Rollouts:
    made = make_rollouts(make_tokens(rows=3, length=4))
    values = torch.where(made.mask, entropy, math.nan).double()
    reward = torch.tensor([1.0, 0.0, math.nan], dtype=torch.float64)
    return replace(made, old_entropy=values, reward=reward, step=step)


def halves(config: Entrocraft, entropy: float, step: int = 0) -> list[float]:
    after, metrics = config.on_advantages(rollouts_of(entropy, step), GIVEN)
    assert number(metrics["entropy"]) == pytest.approx(entropy)
    assert after.shape == GIVEN.shape
    found = after[:, 0].tolist()
    regime = {(1.0, 0.0, 0.0): (1, 0), (0.0, -1.0, 0.0): (0, 1)}.get(tuple(found), (0, 0))
    assert (metrics["correct_only"], metrics["wrong_only"]) == regime
    return found


def test_three_regimes() -> None:
    config = Entrocraft()
    assert halves(config, 0.71) == [1.0, 0.0, 0.0]
    assert halves(config, 0.65) == GIVEN[:, 0].tolist()
    assert halves(config, 0.59) == [0.0, -1.0, 0.0]


@pytest.mark.parametrize(
    ("shape", "step", "progress"),
    [
        ("linear", 0, 0.0),
        ("linear", 25, 0.25),
        ("linear", 100, 1.0),
        ("linear", 900, 1.0),
        ("cosine", 0, 0.0),
        ("cosine", 25, (1 - math.sqrt(0.5)) / 2),
        ("cosine", 50, 0.5),
        ("cosine", 100, 1.0),
        ("cosine", 900, 1.0),
    ],
)
def test_bounds_move_to_their_second_value(shape: Any, step: int, progress: float) -> None:
    config = Entrocraft(lower=(0.6, 0.1), upper=(0.7, 0.3), shape=shape, steps=100)
    low, high = 0.6 - 0.5 * progress, 0.7 - 0.4 * progress
    assert config.bound(config.lower, step) == pytest.approx(low)
    assert config.bound(config.upper, step) == pytest.approx(high)
    assert halves(config, low - 1e-3, step) == [0.0, -1.0, 0.0]
    assert halves(config, low + 1e-3, step) == GIVEN[:, 0].tolist()
    assert halves(config, high + 1e-3, step) == [1.0, 0.0, 0.0]


def test_one_bound_alone() -> None:
    assert halves(Entrocraft(lower=None), 0.01) == GIVEN[:, 0].tolist()
    assert halves(Entrocraft(upper=None), 9.0) == GIVEN[:, 0].tolist()


def test_entropy_is_that_of_all_ranks() -> None:
    rollouts = rollouts_of(0.65)
    tokens = int(rollouts.mask.sum())
    other = Reduce(sum=lambda value: value + (tokens if value == tokens else 9.0 * tokens))
    after, _ = Entrocraft().on_advantages(replace(rollouts, reduce=other), GIVEN)
    assert after[:, 0].tolist() == [1.0, 0.0, 0.0]


def test_what_is_correct_may_be_another_reward_or_threshold() -> None:
    parts = torch.tensor([[0.2], [0.9], [0.4]], dtype=torch.float64)
    rollouts = replace(rollouts_of(9.0), reward_parts=parts)
    after, _ = Entrocraft(reward="right").on_advantages(rollouts, GIVEN)
    assert after[:, 0].tolist() == [0.0, 1.0, 0.0]
    after, _ = Entrocraft(reward="right", correct=0.3).on_advantages(rollouts, GIVEN)
    assert after[:, 0].tolist() == [0.0, 1.0, 1.0]
    assert Entrocraft(reward="right").named_rewards == {"right"}


def test_without_tokens_nothing_changes() -> None:
    rollouts = rollouts_of(9.0)
    rollouts = replace(rollouts, mask=torch.zeros_like(rollouts.mask))
    after, _ = Entrocraft().on_advantages(rollouts, GIVEN)
    assert torch.equal(after, GIVEN)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"lower": (-0.1, 0.2)}, "lower"),
        ({"upper": (0.7, math.inf)}, "upper"),
        ({"lower": (0.8, 0.1)}, "must not be above"),
        ({"lower": (0.1, 0.6)}, "must not be above"),
        ({"steps": 0}, "steps"),
    ],
)
def test_entrocraft_refuses(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Entrocraft(**settings)


def test_needs() -> None:
    assert Entrocraft().needs == {"old_entropy"}
    assert Entrocraft().named_rewards == set()
