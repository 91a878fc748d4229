"""archer: bounds, KL terms and gradients of every token, by plain loops over each completion's entropies."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.config import parse_interventions
from rlent.interventions import Archer, chain
from rlent.types import Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number


def high_by_loops(tokens: Tokens, quantile: float) -> set[tuple[int, int]]:
    high = set()
    for row in range(len(tokens.mask)):
        places = tokens.mask[row].nonzero().flatten().tolist()
        ordered = sorted(tokens.entropy[row, place].item() for place in places)
        if not ordered:
            continue
        at = quantile * (len(ordered) - 1)
        low, top = ordered[math.floor(at)], ordered[math.ceil(at)]
        threshold = low + (at - math.floor(at)) * (top - low)
        high |= {(row, p) for p in places if tokens.entropy[row, p].item() > threshold}
    return high


@pytest.mark.parametrize("quantile", [0.0, 0.37, 0.8, 1.0])
def test_bounds_follow_the_entropy_of_the_token(quantile: float) -> None:
    tokens = make_tokens(rows=9, length=11)
    config = Archer(quantile=quantile, epsilon_low_entropy=0.1, epsilon_high_entropy=0.6)
    signal, metrics = chain([config]).on_tokens(tokens, make_signal(tokens))
    high = high_by_loops(tokens, quantile)
    for row, place in tokens.mask.nonzero().tolist():
        epsilon = 0.6 if (row, place) in high else 0.1
        assert signal.clip_low[row, place].item() == pytest.approx(1 - epsilon)
        assert signal.clip_high[row, place].item() == pytest.approx(1 + epsilon)
    share = number(metrics["archer/high_entropy"])
    assert share == pytest.approx(len(high) / int(tokens.mask.sum()))


def test_the_bounds_of_a_pair_need_not_be_symmetric() -> None:
    tokens = make_tokens(rows=9, length=11)
    config = Archer(epsilon_low_entropy=(0.1, 0.25), epsilon_high_entropy=(0.0, 3.0))
    signal, _ = config.on_tokens(tokens, make_signal(tokens))
    high = high_by_loops(tokens, 0.8)
    for row, place in tokens.mask.nonzero().tolist():
        low, top = (1.0, 4.0) if (row, place) in high else (0.9, 1.25)
        assert signal.clip_low[row, place].item() == pytest.approx(low)
        assert signal.clip_high[row, place].item() == pytest.approx(top)
    (written,) = parse_interventions([{"archer": {"epsilon_high_entropy": [0, 3.0]}}])
    assert written == Archer(epsilon_high_entropy=(0.0, 3.0))


@pytest.mark.parametrize("as_released", [False, True])
def test_each_kl_term_is_k3_on_its_own_tokens(as_released: bool) -> None:
    tokens = make_tokens(rows=9, length=11)
    assert tokens.ref_logp is not None
    far = tokens.ref_logp.clone()
    far[0, 0] += 5.0  # k3 above 10 nats
    tokens = replace(tokens, ref_logp=far)
    weights = {True: 0.3, False: 0.2}
    config = Archer(kl_low_entropy=0.2, kl_high_entropy=0.3, as_released=as_released)
    signal, metrics = config.on_tokens(tokens, make_signal(tokens))
    high = high_by_loops(tokens, 0.8)
    total = int(tokens.mask.sum())
    counts = {True: len(high), False: total - len(high)}
    sums = {True: 0.0, False: 0.0}
    slopes = torch.zeros_like(far)
    for row, place in tokens.mask.nonzero().tolist():
        side = (row, place) in high
        moved = far[row, place].item() - tokens.logp[row, place].item()
        kl, slope = math.exp(moved) - moved - 1, 1 - math.exp(moved)
        if as_released and kl > 10:
            kl, slope = 10.0, 0.0
        sums[side] += kl
        factor = weights[side] * (total / counts[side] if as_released else 1.0)
        assert signal.penalty[row, place].item() == pytest.approx(factor * kl, abs=1e-12)
        slopes[row, place] = factor * slope
    (gradient,) = torch.autograd.grad(signal.penalty.sum(), tokens.logp)
    torch.testing.assert_close(gradient, slopes, rtol=1e-10, atol=1e-12)
    assert number(metrics["kl_low_entropy"]) == pytest.approx(sums[False] / counts[False])
    assert number(metrics["kl_high_entropy"]) == pytest.approx(sums[True] / counts[True])


def test_bounds_can_be_left_where_they_are() -> None:
    tokens = make_tokens(rows=9, length=11)
    before = make_signal(tokens)
    after, _ = Archer(epsilon_low_entropy=None, kl_low_entropy=0.0).on_tokens(tokens, before)
    moved = after.clip_high != before.clip_high
    high = high_by_loops(tokens, 0.8)
    assert {tuple(place) for place in moved.nonzero().tolist()} == high
    assert torch.equal(after.penalty, before.penalty)


def test_a_reference_far_away_stays_finite() -> None:
    tokens = make_tokens(dtype=torch.float32)
    assert tokens.ref_logp is not None
    tokens = replace(tokens, ref_logp=tokens.ref_logp + 500)
    for as_released in (False, True):
        signal, _ = Archer(as_released=as_released).on_tokens(tokens, make_signal(tokens))
        (gradient,) = torch.autograd.grad(signal.penalty.sum(), tokens.logp)
        assert signal.penalty.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "given",
    [
        {"quantile": -0.1},
        {"quantile": 1.1},
        {"epsilon_low_entropy": -0.1},
        {"epsilon_high_entropy": 1.5},
        {"epsilon_low_entropy": (1.1, 0.2)},
        {"epsilon_low_entropy": (0.2, -0.1)},
        {"epsilon_high_entropy": (0.2, math.inf)},
        {"epsilon_high_entropy": (math.nan, 0.2)},
        {"kl_low_entropy": -1.0},
        {"kl_high_entropy": math.inf},
    ],
)
def test_archer_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Archer(**given)


def test_needs_follow_the_kl_terms() -> None:
    assert Archer().needs == {"entropy", "several_updates", "ref_logp"}
    assert Archer(kl_low_entropy=0.0).needs == {"entropy", "several_updates"}
    assert "ref_logp" in Archer(kl_low_entropy=0.0, kl_high_entropy=0.1).needs
