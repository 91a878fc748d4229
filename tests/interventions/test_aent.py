"""AEnt: the bonus, and a coefficient that follows the entropy of the step."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.distributions import Statistic
from rlent.interventions import AEnt, StepStatistics
from rlent.interventions.aent import AEntStages
from rlent.types import Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number

CLAMPED = Statistic("clamped_entropy", 0.3)


def step(stages: AEntStages, *means: float, number: int = 0) -> float:
    """An optimiser step of micro-batches with these mean entropies; the coefficient after it."""
    for entropy in means:
        stages.on_tokens(micro_batch(entropy), make_signal(micro_batch(entropy)))
    stages.on_step(StepStatistics(step=number, tokens=1.0, entropy=9.0, selected=1.0))
    return stages.state_dict()["weight"]


def micro_batch(entropy: float, **changes: Any) -> Tokens:
    tokens = make_tokens(rows=2, length=3, mask=torch.ones(2, 3, dtype=torch.bool))
    values = torch.full((2, 3), entropy, dtype=torch.float64)
    return replace(tokens, statistics={CLAMPED: values}, **changes)


def test_the_bonus_is_on_every_token() -> None:
    tokens = make_tokens()
    signal, metrics = AEnt(weight=0.01).build().on_tokens(tokens, make_signal(tokens))
    entropy = tokens.statistics[CLAMPED]
    for i in range(4):
        for t in range(7):
            expected = -0.01 * entropy[i, t].item() if tokens.mask[i, t] else 0.0
            assert signal.penalty[i, t].item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(signal.penalty.sum(), entropy)
    assert torch.equal(gradient, -0.01 * tokens.mask.double())
    assert number(metrics["weight"]) == 0.01
    assert number(metrics["entropy"]) == pytest.approx(entropy[tokens.mask].mean().item())


def test_a_constant_coefficient_stays() -> None:
    stages = AEnt().build()
    assert step(stages, 0.0) == step(stages, 5.0) == 0.0002


def test_the_coefficient_follows_the_range() -> None:
    """c - s (min(0, e - low) + max(0, e - high)), with e the mean over the step's micro-batches."""
    stages = AEnt(weight=0.01, low=0.2, high=0.5, rate=0.02).build()
    assert step(stages, 0.1, 0.0) == pytest.approx(0.01 + 0.02 * 0.15)
    assert step(stages, 0.2, 0.4) == pytest.approx(0.013)
    assert step(stages, 0.8) == pytest.approx(0.013 - 0.02 * 0.3)
    signal, metrics = stages.on_tokens(micro_batch(1.0), make_signal(micro_batch(1.0)))
    assert number(metrics["weight"]) == pytest.approx(0.007)
    assert signal.penalty[0, 0].item() == pytest.approx(-0.007)


def test_the_coefficient_is_bounded() -> None:
    stages = AEnt(weight=0.01, low=0.2, high=0.5, rate=1.0, smallest=0.005, largest=0.02).build()
    assert step(stages, 0.0) == 0.02
    assert step(stages, 2.0) == 0.005


def test_the_coefficient_is_drawn_to_its_first_value() -> None:
    stages = AEnt(weight=0.01, low=0.2, high=0.5, rate=0.1, pull=0.5).build()
    first = step(stages, 0.0)
    assert first == pytest.approx(0.03)
    assert step(stages, 0.3) == pytest.approx(0.03 - 0.1 * 0.5 * 0.02)


def test_the_coefficient_waits_for_the_end_of_the_warmup() -> None:
    stages = AEnt(weight=0.01, low=0.2, high=0.5, warmup=2).build()
    assert step(stages, 0.0, number=0) == 0.01
    assert step(stages, 0.0, number=1) == pytest.approx(0.0102)


def test_an_evaluation_moves_nothing() -> None:
    stages = AEnt(weight=0.01, low=0.2, high=0.5).build()
    seen = micro_batch(9.0, train=False)
    stages.on_tokens(seen, make_signal(seen))
    assert step(stages, 0.3) == 0.01


def test_the_coefficient_survives_a_checkpoint() -> None:
    stages = AEnt(weight=0.01, low=0.2, high=0.5).build()
    step(stages, 0.0)
    again = AEnt(weight=0.01, low=0.2, high=0.5).build()
    again.load_state_dict(stages.state_dict())
    assert step(again, 0.1) == step(stages, 0.1)


@pytest.mark.parametrize(
    "given",
    [
        {"weight": -0.1},
        {"drop": 1.0},
        {"drop": -0.1},
        {"low": 0.1},
        {"high": 0.1},
        {"low": 0.5, "high": 0.1},
        {"low": -0.1, "high": 0.1},
        {"smallest": 0.001, "low": 0.1, "high": 0.2},
        {"largest": 0.0001, "low": 0.1, "high": 0.2},
        {"rate": -1.0, "low": 0.1, "high": 0.2},
        {"pull": math.inf, "low": 0.1, "high": 0.2},
        {"warmup": -1, "low": 0.1, "high": 0.2},
    ],
)
def test_what_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        AEnt(**given)


@pytest.mark.parametrize(
    "given", [{"rate": 0.1}, {"smallest": 0.0}, {"largest": 1.0}, {"pull": 1.0}, {"warmup": 5}]
)
def test_what_moves_a_constant_coefficient_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"constant without low and high; set both, or remove it"):
        AEnt(**given)
