"""advantage_reweighting: the factor of every token by the formula."""

import math
from typing import Any

import pytest
import torch

from rlent.interventions import AdvantageReweighting, chain
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 1.0])
def test_unlikely_tokens_lose_the_share(alpha: float) -> None:
    rollouts = make_rollouts(tokens := make_tokens(rows=8))
    advantage = make_signal(tokens).advantage
    links = chain([AdvantageReweighting(alpha=alpha)])
    after, metrics = links.on_advantages(rollouts, advantage)
    assert rollouts.old_logp is not None
    factors = []
    for row, place in rollouts.mask.nonzero().tolist():
        factors.append(alpha * math.exp(rollouts.old_logp[row, place].item()) + 1 - alpha)
        expected = factors[-1] * advantage[row, place].item()
        assert after[row, place].item() == pytest.approx(expected, rel=1e-12)
    mean = number(metrics["advantage_reweighting/factor"])
    assert mean == pytest.approx(sum(factors) / len(factors))


def test_a_certain_and_an_impossible_token() -> None:
    tokens = make_tokens(1, 2, mask=torch.ones(1, 2, dtype=torch.bool))
    tokens.old_logp[:] = torch.tensor([[0.0, -1e4]])
    one = torch.ones(1, 2, dtype=torch.float64)
    after, _ = AdvantageReweighting(alpha=0.4).on_advantages(make_rollouts(tokens), one)
    assert after.tolist() == [[1.0, 0.6]]


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_advantage_reweighting_refuses(alpha: Any) -> None:
    with pytest.raises(ValueError, match="alpha"):
        AdvantageReweighting(alpha=alpha)


def test_needs() -> None:
    assert AdvantageReweighting().needs == {"old_logp"}
