"""Surrogates against the formulas of their papers, differentiated by autograd in float64."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.surrogates import CISPO, PPO, SAPO, ratio_exponent
from rlent.types import Tokens
from tests.interventions.examples import make_tokens
from tests.surrogate_examples import (
    HIGH,
    LOW,
    at_log_ratios,
    drifted,
    plain_ratio,
    value_and_gradient,
)

Formula = Callable[[Tensor, Tensor], Tensor]
"""(ratio, advantage) -> loss per token, written as in a paper."""


def assert_same(given: Tensor, expected: Tensor, tokens: Tokens) -> None:
    for side, other in zip(
        value_and_gradient(given, tokens), value_and_gradient(expected, tokens), strict=True
    ):
        torch.testing.assert_close(side, other, rtol=1e-12, atol=1e-12)


def ppo_formula(dual_clip: float | None = None) -> Formula:
    def formula(ratio: Tensor, advantage: Tensor) -> Tensor:
        loss = -torch.min(ratio * advantage, ratio.clamp(LOW, HIGH) * advantage)
        if dual_clip is None:
            return loss
        return torch.where(advantage < 0, torch.min(loss, -dual_clip * advantage), loss)

    return formula


def gppo_formula(ratio: Tensor, advantage: Tensor) -> Tensor:
    """GPPO, Eq. 11: the bounds are multiples of ``ratio / sg(ratio)``, so they carry gradient."""
    carrier = ratio / ratio.detach()
    clipped = torch.minimum(torch.maximum(ratio, LOW * carrier), HIGH * carrier)
    return -torch.min(ratio * advantage, clipped * advantage)


def ce_gppo_formula(beta_low: float, beta_high: float) -> Formula:
    """CE-GPPO, Eq. 8."""

    def formula(ratio: Tensor, advantage: Tensor) -> Tensor:
        carrier = ratio / ratio.detach()
        below = (ratio < LOW) & (advantage < 0)
        above = (ratio > HIGH) & (advantage > 0)
        kept_high = torch.where(above, beta_high * HIGH * carrier, ratio)
        return -torch.where(below, beta_low * LOW * carrier, kept_high) * advantage

    return formula


def sapo_formula(positive: float, negative: float) -> Formula:
    def formula(ratio: Tensor, advantage: Tensor) -> Tensor:
        losses = [
            -4 / tau * torch.sigmoid(tau * (ratio - 1)) * advantage for tau in (positive, negative)
        ]
        return torch.where(advantage > 0, losses[0], losses[1])

    return formula


@pytest.mark.parametrize("level", ["token", "sequence", "sequence_arithmetic"])
@pytest.mark.parametrize("dual_clip", [None, 3.0, 1.5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ppo_is_the_clipped_surrogate(level: Any, dual_clip: float | None, seed: int) -> None:
    tokens, signal = drifted(level, seed)
    expected = ppo_formula(dual_clip)(plain_ratio(tokens, level), signal.advantage)
    assert_same(PPO(level=level, dual_clip=dual_clip)(tokens, signal), expected, tokens)


def test_the_examples_reach_every_branch() -> None:
    for level in ("token", "sequence", "sequence_arithmetic"):
        tokens, signal = drifted(level)
        ratio, mask = plain_ratio(tokens, level), tokens.mask
        sides = {"below": ratio < LOW, "above": ratio > HIGH, "far above": ratio > 1.5}
        for side in sides.values():
            assert (side & (signal.advantage > 0) & mask).any()
            assert (side & (signal.advantage < 0) & mask).any()


def test_a_sequence_without_tokens_has_ratio_one_and_no_gradient() -> None:
    tokens, _ = drifted()
    tokens = replace(tokens, mask=tokens.mask & (torch.arange(24) > 0).unsqueeze(1))
    for level in ("sequence", "sequence_arithmetic"):
        exponent = ratio_exponent(tokens, level)
        assert exponent[0].item() == 0.0
        (gradient,) = torch.autograd.grad(exponent.sum(), tokens.logp)
        assert not gradient[0].any()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("level", ["token", "sequence", "sequence_arithmetic"])
def test_keeping_everything_is_gppo(level: Any) -> None:
    tokens, signal = drifted(level)
    one = torch.ones_like(signal.keep_low)
    signal = replace(signal, keep_low=one, keep_high=one)
    expected = gppo_formula(plain_ratio(tokens, level), signal.advantage)
    assert_same(PPO(level=level)(tokens, signal), expected, tokens)


@pytest.mark.parametrize(("beta_low", "beta_high"), [(0.5, 1.0), (0.75, 1.0), (0.25, 0.6)])
def test_keeping_a_share_has_the_gradient_of_ce_gppo_and_the_value_of_ppo(
    beta_low: float, beta_high: float
) -> None:
    tokens, signal = drifted()
    one = torch.ones_like(signal.keep_low)
    signal = replace(signal, keep_low=beta_low * one, keep_high=beta_high * one)
    ratio = plain_ratio(tokens, "token")
    given_value, given_gradient = value_and_gradient(PPO()(tokens, signal), tokens)
    formula = ce_gppo_formula(beta_low, beta_high)
    gradient = value_and_gradient(formula(ratio, signal.advantage), tokens)[1]
    value = ppo_formula()(ratio, signal.advantage)[tokens.mask]
    torch.testing.assert_close(given_gradient, gradient, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(given_value, value, rtol=1e-12, atol=1e-12)


RATIOS = [0.1, 0.5, 0.79, 0.81, 1.0, 1.27, 1.29, 5.0, 9.9, 10.1]
FACTORS = {  # (sign of A, keep_low, keep_high): F at each ratio, bounds 0.8 and 1.28, dual clip 10
    (1.0, 0.0, 0.0): [0.1, 0.5, 0.79, 0.81, 1.0, 1.27, 0.0, 0.0, 0.0, 0.0],
    (1.0, 1.0, 1.0): [0.1, 0.5, 0.79, 0.81, 1.0, 1.27, 1.28, 1.28, 1.28, 1.28],
    (1.0, 0.5, 1.0): [0.1, 0.5, 0.79, 0.81, 1.0, 1.27, 1.28, 1.28, 1.28, 1.28],
    (-1.0, 0.0, 0.0): [0.0, 0.0, 0.0, 0.81, 1.0, 1.27, 1.29, 5.0, 9.9, 0.0],
    (-1.0, 1.0, 1.0): [0.8, 0.8, 0.8, 0.81, 1.0, 1.27, 1.29, 5.0, 9.9, 0.0],
    (-1.0, 0.5, 1.0): [0.4, 0.4, 0.4, 0.81, 1.0, 1.27, 1.29, 5.0, 9.9, 0.0],
}


@pytest.mark.parametrize(("setting", "factors"), FACTORS.items())
def test_gradient_factors_of_ppo_gppo_and_ce_gppo(
    setting: tuple[float, float, float], factors: list[float]
) -> None:
    sign, keep_low, keep_high = setting
    tokens, signal = at_log_ratios([math.log(ratio) for ratio in RATIOS], sign, torch.float64)
    one = torch.ones_like(tokens.old_logp)
    signal = replace(signal, keep_low=keep_low * one, keep_high=keep_high * one)
    loss = PPO(dual_clip=10.0)(tokens, signal).sum()
    (gradient,) = torch.autograd.grad(loss, tokens.logp)
    assert (-gradient / sign).flatten().tolist() == pytest.approx(factors, abs=1e-12)


@pytest.mark.parametrize("level", ["token", "sequence", "sequence_arithmetic"])
@pytest.mark.parametrize("bounds", [(LOW, HIGH), (0.0, 1.1)])
def test_cispo_multiplies_the_log_probability_by_a_clipped_constant(
    level: Any, bounds: tuple[float, float]
) -> None:
    tokens, signal = drifted(level)
    one = torch.ones_like(tokens.old_logp)
    signal = replace(signal, clip_low=bounds[0] * one, clip_high=bounds[1] * one)
    constant = plain_ratio(tokens, level).clamp(*bounds).detach()
    expected = -constant * signal.advantage * tokens.logp
    assert_same(CISPO(level=level)(tokens, signal), expected, tokens)


@pytest.mark.parametrize("level", ["token", "sequence", "sequence_arithmetic"])
@pytest.mark.parametrize(("positive", "negative"), [(1.0, 1.05), (0.5, 3.0)])
def test_sapo_is_the_soft_gate(level: Any, positive: float, negative: float) -> None:
    tokens, signal = drifted(level)
    sapo = SAPO(level=level, temperature_positive=positive, temperature_negative=negative)
    ratio = plain_ratio(tokens, level)
    expected = sapo_formula(positive, negative)(ratio, signal.advantage)
    assert_same(sapo(tokens, signal), expected, tokens)


def test_sapo_has_the_policy_gradient_at_ratio_one() -> None:
    for sign in (1.0, -1.0):
        tokens, signal = at_log_ratios([0.0], sign, torch.float64)
        (gradient,) = torch.autograd.grad(SAPO()(tokens, signal).sum(), tokens.logp)
        assert gradient.item() == pytest.approx(-sign)


def test_the_sequence_exponent_is_the_mean_over_the_tokens_that_count() -> None:
    tokens = make_tokens(5, 6, seed=4)
    tokens = replace(tokens, mask=tokens.mask & (torch.arange(5) != 2).unsqueeze(1))
    exponent = ratio_exponent(tokens, "sequence")
    for row in range(5):
        kept = [position for position in range(6) if tokens.mask[row, position]]
        total = sum((tokens.logp - tokens.old_logp)[row, position].item() for position in kept)
        assert exponent[row].item() == pytest.approx(total / max(len(kept), 1))
