"""adaptive_entropy: the weight step by step, and that the bonus works only while entropy is low."""

import math
from typing import Any

import pytest
import torch

from rlent.interventions import AdaptiveEntropy, StepStatistics, chain
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number


def statistics(entropy: float) -> StepStatistics:
    return StepStatistics(step=0, tokens=10.0, entropy=entropy, selected=1.0)


def test_the_weight_follows_the_rule() -> None:
    config = AdaptiveEntropy(target=0.5, delta=0.1, smallest=0.05, largest=0.3, initial=0.1)
    tokens = make_tokens()
    links = chain([config])
    entropies = [0.4, 0.5, 0.3, 0.2, 0.1, 0.9, 0.4, 0.9, 0.9, 0.9, 0.1]
    weight, low = 0.1, True
    for entropy in entropies:
        signal, metrics = links.on_tokens(tokens, make_signal(tokens))
        applied = weight if low else 0.0
        assert number(metrics["adaptive_entropy/weight"]) == pytest.approx(applied)
        expected = -applied * tokens.entropy.detach()
        torch.testing.assert_close(signal.penalty.detach()[tokens.mask], expected[tokens.mask])
        links.on_step(statistics(entropy))
        if entropy < 0.5:
            weight = min(weight + 0.1, 0.3)
        elif entropy > 0.5:
            weight = max(weight - 0.1, 0.05)
        low = entropy <= 0.5


def test_the_bonus_carries_gradient_only_while_it_works() -> None:
    tokens = make_tokens()
    links = chain([AdaptiveEntropy(initial=0.005)])
    signal, _ = links.on_tokens(tokens, make_signal(tokens))
    (gradient,) = torch.autograd.grad(signal.penalty.sum(), tokens.entropy)
    assert torch.allclose(gradient, -0.005 * tokens.mask.double())
    links.on_step(statistics(1.0))
    signal, _ = links.on_tokens(tokens, make_signal(tokens))
    assert not signal.penalty.requires_grad


def test_a_resumed_run_goes_on_where_it_was() -> None:
    config = AdaptiveEntropy(delta=0.002)
    links = chain([config])
    for entropy in (0.1, 0.1, 0.9):
        links.on_step(statistics(entropy))
    resumed = chain([config])
    resumed.load_state_dict(links.state_dict())
    tokens = make_tokens()
    for entropy in (0.1, 0.1):
        for part in (links, resumed):
            part.on_step(statistics(entropy))
        weights = [
            number(part.on_tokens(tokens, make_signal(tokens))[1]["adaptive_entropy/weight"])
            for part in (links, resumed)
        ]
        assert weights[0] == weights[1] > 0
    assert links.state_dict() == resumed.state_dict()


@pytest.mark.parametrize(
    "given",
    [
        {"target": -0.1},
        {"target": math.inf},
        {"delta": -1e-4},
        {"smallest": 0.1},
        {"largest": math.inf},
        {"initial": 0.1},
        {"smallest": -0.1},
    ],
)
def test_adaptive_entropy_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        AdaptiveEntropy(**given)


def test_needs() -> None:
    assert AdaptiveEntropy().needs == {"entropy_grad"}
