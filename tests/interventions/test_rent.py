"""rent: minus the mean entropy, and completions without an answer."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import RENT
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number


def test_the_reward_is_minus_the_mean_entropy_of_the_tokens() -> None:
    rollouts = make_rollouts(make_tokens(rows=5, length=7))
    assert rollouts.old_entropy is not None
    expected = []
    for row in range(5):
        places = rollouts.mask[row].nonzero().flatten().tolist()
        expected.append(-sum(rollouts.old_entropy[row, p].item() for p in places) / len(places))
    reward, metrics = RENT().on_rewards(rollouts)
    assert reward.tolist() == pytest.approx(expected)
    assert number(metrics["reward"]) == pytest.approx(sum(expected) / 5)
    assert set(metrics) == {"reward"}


def test_a_completion_without_tokens_is_not_scored() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    rollouts = make_rollouts(make_tokens(rows=2, length=2, mask=mask))
    reward, metrics = RENT(without_answer=-7.0).on_rewards(replace(rollouts, texts=("", "")))
    assert reward[0] == -7
    assert reward[1].isnan()
    assert number(metrics["without_answer"]) == 0.5
    assert number(metrics["reward"]) == -7


def test_completions_without_an_answer_have_their_own_reward() -> None:
    rollouts = make_rollouts(make_tokens(rows=3, length=4))
    texts = ("so \\boxed{3}", "<answer>4</answer>", "no idea")
    rollouts = replace(rollouts, texts=texts)
    plain, _ = RENT().on_rewards(rollouts)
    reward, _ = RENT(without_answer=-7.0).on_rewards(rollouts)
    assert reward.tolist() == [*plain[:2].tolist(), -7.0]
    tagged, _ = RENT(without_answer=-2.0, extract="answer_tag").on_rewards(rollouts)
    assert tagged.tolist() == [-2.0, plain[1].item(), -2.0]


def test_without_the_reward_rewards_stay() -> None:
    rollouts = make_rollouts(make_tokens())
    reward, _ = RENT(replace=False).on_rewards(rollouts)
    assert torch.equal(reward, rollouts.reward)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"extract": "boxed"}, "extract has no effect"),
        ({"without_answer": math.inf}, "without_answer"),
        ({"without_answer": math.nan}, "without_answer"),
    ],
)
def test_rent_refuses(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RENT(**settings)


def test_needs() -> None:
    assert RENT().needs == {"old_entropy"}
    assert RENT(without_answer=-7.0).needs == {"old_entropy", "texts"}
    assert RENT.overwrites == {"reward"}
