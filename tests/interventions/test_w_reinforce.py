"""w_reinforce: the advantage of every completion by its outcome."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import WReinforce, chain
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number

REWARDS = [1.0, 0.0, 0.5, 0.51, math.nan, 2.0]


def rollouts() -> Rollouts:
    made = make_rollouts(make_tokens(rows=6))
    return replace(made, reward=torch.tensor(REWARDS, dtype=torch.float64))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [0.1, -1, -1, 0.1, None, 0.1]),
        ({"positive": 1.0, "negative": 0.0}, [1, 0, 0, 1, None, 1]),
        ({"positive": 0.0}, [0, -1, -1, 0, None, 0]),
        ({"positive": None, "negative": 0.3}, [None, -0.3, -0.3, None, None, None]),
        ({"positive": 0.3, "negative": None}, [0.3, None, None, 0.3, None, 0.3]),
        ({"correct": 1.5}, [-1, -1, -1, -1, None, 0.1]),
    ],
)
def test_advantages_by_outcome(given: dict[str, Any], expected: list[float | None]) -> None:
    advantage = make_signal(make_tokens(rows=6)).advantage
    after, metrics = chain([WReinforce(**given)]).on_advantages(rollouts(), advantage)
    for row, value in enumerate(expected):
        wanted = advantage[row] if value is None else torch.full_like(advantage[row], value)
        assert torch.equal(after[row], wanted)
    right = sum(reward > given.get("correct", 0.5) for reward in REWARDS)
    assert number(metrics["w_reinforce/correct"]) == pytest.approx(right / 5)


def test_a_named_reward_says_what_is_correct() -> None:
    made = rollouts()
    parts = torch.stack([made.reward, 1 - made.reward], dim=1)
    made = replace(made, reward_parts=parts, reward_names=("right", "wrong"))
    after, _ = WReinforce(reward="wrong").on_advantages(made, torch.zeros(6, 7).double())
    assert after[:, 0].tolist() == [-1, pytest.approx(0.1), -1, -1, 0, -1]
    assert WReinforce(reward="wrong").named_rewards == {"wrong"}
    assert WReinforce().named_rewards == frozenset()


@pytest.mark.parametrize("given", [{"positive": -0.1}, {"negative": -1.0}, {"negative": math.inf}])
def test_w_reinforce_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        WReinforce(**given)
