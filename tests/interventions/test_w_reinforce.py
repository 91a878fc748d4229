"""w_reinforce: the advantage of every completion by its outcome."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import WReinforce, chain, implemented_stages
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


@pytest.mark.parametrize(
    ("given", "dropped"),
    [
        ({"positive": 0.0}, [True, False, False, True, False, True]),
        ({"negative": 0.0}, [False, True, True, False, False, False]),
        ({"positive": None, "negative": 0.0}, [False, True, True, False, False, False]),
        ({"positive": 0.0, "correct": 1.5}, [False, False, False, False, False, True]),
        ({"negative": 0.0, "reward": "wrong"}, [True, False, True, True, False, True]),
    ],
)
def test_completions_of_weight_0_can_be_given_up(
    given: dict[str, Any], dropped: list[bool]
) -> None:
    made = rollouts()
    parts = torch.stack([made.reward, 1 - made.reward], dim=1)
    made = replace(made, reward_parts=parts, reward_names=("right", "wrong"))
    before = torch.tensor([True, True, True, True, True, False])
    after, metrics = chain([WReinforce(zero_weight="drop", **given)]).on_filter(made, before)
    assert after.tolist() == [
        kept and not gone for kept, gone in zip(before.tolist(), dropped, strict=True)
    ]
    assert number(metrics["w_reinforce/dropped"]) == pytest.approx(sum(dropped) / 6)
    assert "on_filter" not in implemented_stages(WReinforce(**given))
    zero = torch.zeros(6, 7).double()
    advantages, _ = WReinforce(**given).on_advantages(made, zero)
    of_half, _ = chain([WReinforce(zero_weight="drop", **given)]).on_advantages(made, zero)
    assert torch.equal(of_half, advantages)


@pytest.mark.parametrize(
    "given", [{}, {"positive": 0.0, "negative": 0.0}, {"positive": None, "negative": None}]
)
def test_nothing_or_everything_cannot_be_given_up(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="zero_weight"):
        WReinforce(zero_weight="drop", **given)


@pytest.mark.parametrize("given", [{"positive": -0.1}, {"negative": -1.0}, {"negative": math.inf}])
def test_w_reinforce_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        WReinforce(**given)
