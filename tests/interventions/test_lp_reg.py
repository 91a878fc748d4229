"""Lp-Reg: which tokens are protected, from what, and how far."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions import LpReg, chain
from rlent.types import Rollouts, Signal, Tokens
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number, rows

LOG_PROBS = Statistic("log_probs")
PROXY = Statistic("kept_log_probs", 0.02)
MASK = torch.arange(6).expand(4, 6) < torch.tensor([[6], [4], [6], [1]])
SIGNS = torch.tensor([[-1.0], [1.0], [-0.5], [-1.0]]).double()


def records(drift: float = 0.3) -> tuple[Tokens, Rollouts, Signal]:
    """Three bad completions of 13 tokens together, and a good one."""
    tokens = make_tokens(rows=4, length=6, mask=MASK, drift=drift, seed=2)
    g = torch.Generator().manual_seed(7)
    proxy = tokens.old_logp + torch.rand(4, 6, generator=g).double()
    proxy = proxy.masked_fill(torch.rand(4, 6, generator=g) < 0.3, -torch.inf)
    tokens = replace(tokens, old_statistics={LOG_PROBS: tokens.old_logp, PROXY: proxy})
    signal = replace(make_signal(tokens), advantage=SIGNS.expand(4, 6))
    return tokens, make_rollouts(tokens), signal


def run(
    config: LpReg, tokens: Tokens, rollouts: Rollouts, signal: Signal
) -> tuple[Signal, dict[str, Any]]:
    links = chain([config])
    links.on_advantages(rollouts, signal.advantage)
    return links.on_tokens(tokens, signal)


def candidates(values: Tensor, share: float) -> list[tuple[int, int]]:
    """Places of the lowest values among the tokens with a negative advantage."""
    places = [(i, t) for i in range(4) for t in range(6) if MASK[i, t] and SIGNS[i, 0] < 0]
    places.sort(key=lambda place: values[place].item())
    return places[: math.floor(share * len(places) + 1e-9)]


def expected(tokens: Tokens, places: list[tuple[int, int]], weight: float) -> tuple[Tensor, Tensor]:
    """Penalty and whether a token is protected."""
    penalty, protected = torch.zeros(4, 6).double(), torch.zeros(4, 6, dtype=torch.bool)
    for place in places:
        gap = tokens.old_statistics[PROXY][place].item() - tokens.logp[place].item()
        if gap > 0:
            penalty[place] = weight * (math.exp(gap) - gap - 1)
            protected[place] = True
    return penalty, protected


@pytest.mark.parametrize("share", [0.5, 0.3, 1.0])
def test_the_least_probable_tokens_of_bad_completions(share: float) -> None:
    tokens, rollouts, signal = records()
    after, metrics = run(LpReg(share=share, weight=0.7), tokens, rollouts, signal)
    places = candidates(tokens.old_logp, share)
    penalty, protected = expected(tokens, places, 0.7)
    assert 0 < protected.sum() <= len(places)
    torch.testing.assert_close(after.penalty.detach(), penalty)
    assert torch.equal(after.clip_low, signal.clip_low.masked_fill(protected, 0.0))
    assert torch.equal(after.clip_high > 1e8, protected)
    assert torch.equal(after.clip_high[~protected], signal.clip_high[~protected])
    assert number(metrics["lp_reg/protected"]) == pytest.approx(protected.sum().item() / 17)
    mean = penalty.sum().item() / 0.7 / protected.sum().item()
    assert number(metrics["lp_reg/divergence"]) == pytest.approx(mean)


def test_the_gradient_pulls_up_to_the_proxy() -> None:
    tokens, rollouts, signal = records()
    after, _ = run(LpReg(share=1.0), tokens, rollouts, signal)
    (gradient,) = torch.autograd.grad(after.penalty.sum(), tokens.logp)
    _, protected = expected(tokens, candidates(tokens.old_logp, 1.0), 1.0)
    gap = (tokens.old_statistics[PROXY] - tokens.logp.detach())[protected]
    torch.testing.assert_close(gradient[protected], 1 - gap.exp())
    assert not gradient[~protected].any()


def test_as_released_ranks_the_current_policy_in_a_micro_batch() -> None:
    tokens, rollouts, signal = records(drift=3.0)
    after, _ = run(LpReg(share=0.5, as_released=True), tokens, rollouts, signal)
    penalty, _ = expected(tokens, candidates(tokens.logp.detach(), 0.5), 1.0)
    assert penalty.max() > 10
    torch.testing.assert_close(after.penalty.detach(), penalty.clamp(max=10.0))
    plain, _ = run(LpReg(share=0.5, scope="micro_batch"), tokens, rollouts, signal)
    torch.testing.assert_close(plain.penalty.detach(), penalty)


def test_as_released_takes_two_tokens_or_none() -> None:
    tokens, rollouts, signal = records()
    for share, released, plain in ((1.5 / 13, 0, 1), (2.5 / 13, 2, 2)):
        config = LpReg(share=share, as_released=True)
        negative = MASK & (signal.advantage < 0)
        assert config.lowest(tokens.logp, negative).sum() == released
        other = LpReg(share=share, scope="micro_batch")
        assert other.lowest(tokens.logp, negative).sum() == plain


def test_micro_batches_share_the_border_of_the_generation_batch() -> None:
    tokens, rollouts, signal = records()
    links = chain([LpReg(share=0.4)])
    links.on_advantages(rollouts, signal.advantage)
    halves = [slice(0, 2), slice(2, 4)]
    parts = [links.on_tokens(rows(tokens, half), rows(signal, half))[0] for half in halves]
    _, protected = expected(tokens, candidates(tokens.old_logp, 0.4), 1.0)
    assert torch.equal(torch.cat([part.penalty for part in parts]) > 0, protected)


def test_an_evaluation_protects_by_the_last_batch_that_was_learnt_from() -> None:
    tokens, rollouts, signal = records()
    links = chain([LpReg(share=1.0)])
    links.on_advantages(replace(rollouts, train=False), signal.advantage)
    after, _ = links.on_tokens(tokens, signal)
    assert not after.penalty.any()


def test_no_bad_completion_protects_nothing() -> None:
    tokens, rollouts, signal = records()
    good = replace(signal, advantage=signal.advantage.abs())
    for config in (LpReg(share=1.0), LpReg(share=1.0, as_released=True)):
        after, metrics = run(config, tokens, rollouts, good)
        assert not after.penalty.any()
        assert number(metrics["lp_reg/protected"]) == 0.0


def test_needs() -> None:
    assert LpReg().old_statistics == {LOG_PROBS, PROXY}
    assert LpReg(as_released=True).old_statistics == {PROXY}
    assert LpReg(min_p=0.1).proxy == Statistic("kept_log_probs", 0.1)


@pytest.mark.parametrize(
    "given",
    [{"share": -0.1}, {"share": 1.1}, {"min_p": 0.0}, {"min_p": 1.1}, {"weight": -1.0}],
)
def test_what_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        LpReg(**given)
