"""entropy_advantage: the advantage of every token by the formula."""

import math
from typing import Any

import pytest
import torch

from rlent.interventions import EntropyAdvantage, chain
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number


@pytest.mark.parametrize("kappa", [1.0, 2.0, 10.0])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.4])
def test_advantages_are_the_formulas(alpha: float, kappa: float) -> None:
    tokens = make_tokens(rows=12, length=9)
    before = make_signal(tokens)
    links = chain([EntropyAdvantage(alpha=alpha, kappa=kappa)])
    after, metrics = links.on_tokens(tokens, before)
    bonuses, bounded = [], 0
    for row, place in tokens.mask.nonzero().tolist():
        advantage, entropy = before.advantage[row, place].item(), tokens.entropy[row, place].item()
        bonuses.append(min(alpha * entropy, abs(advantage) / kappa))
        bounded += alpha * entropy > abs(advantage) / kappa
        given = after.advantage[row, place].item()
        assert given == pytest.approx(advantage + bonuses[-1], abs=1e-14)
        assert given * advantage >= -1e-14
    total = len(bonuses)
    assert number(metrics["entropy_advantage/bonus"]) == pytest.approx(sum(bonuses) / total)
    assert number(metrics["entropy_advantage/bounded"]) == pytest.approx(bounded / total)


def test_no_gradient_flows_through_the_entropy() -> None:
    tokens = make_tokens()
    assert tokens.entropy.requires_grad
    after, _ = EntropyAdvantage().on_tokens(tokens, make_signal(tokens))
    assert not after.advantage.requires_grad
    assert not torch.equal(after.advantage, make_signal(tokens).advantage)


@pytest.mark.parametrize(
    "given", [{"alpha": -0.1}, {"alpha": math.inf}, {"kappa": 0.9}, {"kappa": math.nan}]
)
def test_entropy_advantage_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        EntropyAdvantage(**given)


def test_needs() -> None:
    assert EntropyAdvantage().needs == {"entropy"}
