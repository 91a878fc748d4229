"""Intuitor's reward: the mean KL divergence of the uniform distribution from the policy, but for a constant."""

import math
from dataclasses import replace

import pytest
import torch

from rlent.distributions import Statistic
from rlent.errors import RewardError
from rlent.interventions import SelfCertainty, chain
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number

LOGSUMEXP, MEAN_LOGITS = Statistic("logsumexp"), Statistic("mean_logits")
VOCABULARY = 5
MASK = torch.tensor([[True, True, False], [True, False, True], [False, False, False]])


def logits() -> torch.Tensor:
    return 2 * torch.randn(3, 3, VOCABULARY, generator=torch.Generator().manual_seed(4)).double()


def rollouts(z: torch.Tensor) -> Rollouts:
    made = make_rollouts(make_tokens(rows=3, length=3, mask=MASK))
    statistics = {LOGSUMEXP: z.logsumexp(-1), MEAN_LOGITS: z.mean(-1)}
    return replace(
        made,
        old_statistics={each: values.where(MASK, math.nan) for each, values in statistics.items()},
    )


def test_the_reward_is_the_divergence_from_uniform() -> None:
    z = logits()
    reward, metrics = chain([SelfCertainty()]).on_rewards(rollouts(z))
    expected = []
    for i in range(2):
        divergences = []
        for t in range(3):
            if MASK[i, t]:
                row = z[i, t].tolist()
                total = math.fsum(math.exp(x) for x in row)
                divergences.append(
                    math.fsum(
                        math.log(1 / VOCABULARY / (math.exp(x) / total)) / VOCABULARY for x in row
                    )
                )
        expected.append(sum(divergences) / len(divergences) + math.log(VOCABULARY))
    assert reward[:2].tolist() == pytest.approx(expected)
    assert reward[2].isnan()
    assert number(metrics["self_certainty/reward"]) == pytest.approx(sum(expected) / 2)


def test_a_uniform_policy_is_the_least_sure() -> None:
    reward, _ = SelfCertainty().on_rewards(rollouts(torch.zeros(3, 3, VOCABULARY).double()))
    assert reward[:2].tolist() == pytest.approx([math.log(VOCABULARY)] * 2)
    surer, _ = SelfCertainty().on_rewards(rollouts(logits()))
    assert (surer[:2] > reward[:2]).all()


def test_rewards_can_be_left_as_they_are() -> None:
    made = rollouts(logits())
    reward, metrics = SelfCertainty(replace=False).on_rewards(made)
    assert torch.equal(reward, made.reward)
    _, same = SelfCertainty().on_rewards(made)
    assert number(metrics["reward"]) == number(same["reward"])


def test_a_ruled_out_token_is_refused() -> None:
    z = logits()
    z[1, 0, 2] = -math.inf
    with pytest.raises(RewardError, match="self_certainty is infinite"):
        SelfCertainty().on_rewards(rollouts(z))
