"""aspo: the gradient factor of every token by the paper's table of cases."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.interventions import ASPO, chain
from rlent.objective import build_objective
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.interventions.test_archer import high_by_loops
from tests.laws.pipeline import number
from tests.surrogate_examples import at_log_ratios

RATIOS = [0.1, 0.3, 0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0, 3.5]
FACTORS = {
    # advantage, inverted: one token per completion, so that every entropy is low; epsilon 0.2, cap 3
    (1.0, True): [3, 3, 2, 1 / 0.79, 1 / 0.81, 1, 1 / 1.19, 0, 0, 0],
    (-1.0, True): [0, 0, 0, 0, 0.81, 1, 1.19, 1.21, 2, 3],
    (1.0, False): [0.1, 0.3, 0.5, 0.79, 0.81, 1, 1.19, 0, 0, 0],
    (-1.0, False): [0, 0, 0, 0, 0.81, 1, 1.19, 1.21, 2, 3],
}


def gradient_of(tokens: Tokens, signal: Signal) -> torch.Tensor:
    step = Step(micro_batches=1, tokens=torch.tensor(1.0), max_length=1)
    build_objective("dapo")(tokens, signal, counted=step, everything=step).backward()
    assert tokens.logp.grad is not None
    return tokens.logp.grad


@pytest.mark.parametrize(("case", "expected"), FACTORS.items(), ids=str)
def test_gradient_factors_are_the_papers(case: tuple[float, bool], expected: list[float]) -> None:
    advantage, invert = case
    logs = torch.tensor(RATIOS, dtype=torch.float64).log().tolist()
    tokens, signal = at_log_ratios(logs, advantage, torch.float64)
    signal, metrics = chain([ASPO(invert=invert)]).on_tokens(tokens, signal)
    factors = (-gradient_of(tokens, signal) / advantage).flatten().tolist()
    assert factors == pytest.approx(expected, abs=1e-12)
    capped = {(1.0, True): 2, (-1.0, True): 1, (1.0, False): 1, (-1.0, False): 1}[case]
    assert number(metrics["aspo/capped"]) == pytest.approx(capped / len(RATIOS))


def test_every_token_by_its_own_ratio_and_entropy() -> None:
    tokens = make_tokens(rows=16, length=9, drift=0.8)
    before = replace(make_signal(tokens), weight=torch.full_like(tokens.old_logp, 0.5))
    config = ASPO(cap=2.0, quantile=0.6, epsilon_low_entropy=0.1, epsilon_high_entropy=0.7)
    signal, metrics = config.on_tokens(tokens, before)
    gradient, high = gradient_of(tokens, signal), high_by_loops(tokens, 0.6)
    for row, place in tokens.mask.nonzero().tolist():
        advantage = before.advantage[row, place].item()
        ratio = math.exp(tokens.logp[row, place].item() - tokens.old_logp[row, place].item())
        epsilon = 0.7 if (row, place) in high else 0.1
        if advantage > 0:
            factor = min(1 / ratio, 2.0) if ratio <= 1 + epsilon else 0.0
        else:
            factor = min(ratio, 2.0) if ratio >= 1 - epsilon else 0.0
        expected = -0.5 * factor * advantage
        assert gradient[row, place].item() == pytest.approx(expected, abs=1e-12)
    share = number(metrics["high_entropy"])
    assert share == pytest.approx(len(high) / int(tokens.mask.sum()))


@pytest.mark.parametrize(("advantage", "bound"), [(1.0, 1.5), (-1.0, 0.9)])
def test_each_sign_has_the_bound_of_a_pair(advantage: float, bound: float) -> None:
    logs = torch.tensor(RATIOS, dtype=torch.float64).log().tolist()
    tokens, signal = at_log_ratios(logs, advantage, torch.float64)
    signal, _ = ASPO(epsilon_low_entropy=(0.1, 0.5)).on_tokens(tokens, signal)
    learns = (gradient_of(tokens, signal) != 0).flatten().tolist()
    inside = [r <= bound if advantage > 0 else r >= bound for r in RATIOS]
    assert learns == inside


@pytest.mark.parametrize("log_ratio", [-1e4, -30.0, 30.0, 1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_no_ratio_gives_nan(advantage: float, log_ratio: float) -> None:
    tokens, signal = at_log_ratios([log_ratio, 0.0], advantage, torch.float32)
    signal, _ = ASPO().on_tokens(tokens, signal)
    assert gradient_of(tokens, signal).isfinite().all()


@pytest.mark.parametrize(
    "given",
    [
        {"cap": 0.9},
        {"cap": math.nan},
        {"quantile": 1.5},
        {"epsilon_low_entropy": 1.1},
        {"epsilon_high_entropy": -0.1},
        {"epsilon_low_entropy": (0.2, -0.1)},
    ],
)
def test_aspo_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        ASPO(**given)


def test_needs() -> None:
    assert ASPO().needs == {"entropy", "several_updates"}
