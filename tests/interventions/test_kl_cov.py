"""kl_cov: the tokens of highest covariance by a full sort, the penalty by loops, and no bounds on the ratio."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import KLCov, chain
from rlent.surrogates import PPO
from rlent.types import Rollouts, Signal, Tokens
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.interventions.test_clip_cov import covariances_by_loops
from tests.laws.pipeline import number


def batch() -> tuple[Tokens, Rollouts, Signal]:
    tokens = make_tokens(rows=16, length=9, drift=0.6)
    return tokens, make_rollouts(tokens), make_signal(tokens)


def highest(logp: torch.Tensor, signal: Signal, mask: torch.Tensor, count: int) -> torch.Tensor:
    covariance = covariances_by_loops(logp.detach(), signal.advantage, mask)
    chosen = torch.zeros_like(mask)
    for place in sorted(covariance, key=lambda p: -covariance[p])[:count]:
        chosen[place] = True
    return chosen


def penalty_by_loops(tokens: Tokens, chosen: torch.Tensor, weight: float) -> torch.Tensor:
    penalty = torch.zeros_like(tokens.old_logp)
    for row, place in chosen.nonzero().tolist():
        moved = tokens.logp[row, place].item() - tokens.old_logp[row, place].item()
        penalty[row, place] = weight * abs(moved)
    return penalty


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_the_whole_batch_is_ranked_by_the_generating_policy(share: float) -> None:
    tokens, rollouts, signal = batch()
    links = chain([KLCov(share=share, weight=0.5)])
    links.on_advantages(rollouts, signal.advantage)
    after, metrics = links.on_tokens(tokens, signal)
    count = math.floor(round(share * int(tokens.mask.sum()), 9))
    chosen = highest(tokens.old_logp, signal, tokens.mask, count)
    expected = penalty_by_loops(tokens, chosen, 0.5)
    torch.testing.assert_close(after.penalty.detach(), expected, rtol=1e-12, atol=1e-14)
    assert number(metrics["kl_cov/selected"]) == pytest.approx(count / int(tokens.mask.sum()))
    assert number(metrics["kl_cov/distance"]) == pytest.approx(2 * expected.sum().item() / count)


@pytest.mark.parametrize(("as_released", "share"), [(False, 0.1), (True, 0.1), (True, 1e-6)])
def test_a_micro_batch_is_ranked_by_the_current_policy(as_released: bool, share: float) -> None:
    tokens, _, signal = batch()
    config = KLCov(share=share, scope="micro_batch", as_released=as_released)
    after, _ = chain([config]).on_tokens(tokens, signal)
    count = math.floor(share * int(tokens.mask.sum()))
    chosen = highest(tokens.logp, signal, tokens.mask, max(count, 1) if as_released else count)
    expected = penalty_by_loops(tokens, chosen, 1.0)
    torch.testing.assert_close(after.penalty.detach(), expected, rtol=1e-12, atol=1e-14)


def test_the_penalty_pulls_the_ratio_back_to_one() -> None:
    tokens, rollouts, signal = batch()
    links = chain([KLCov(share=0.3, weight=2.0)])
    links.on_advantages(rollouts, signal.advantage)
    after, _ = links.on_tokens(tokens, signal)
    (gradient,) = torch.autograd.grad(after.penalty.sum(), tokens.logp)
    chosen = after.penalty.detach() > 0
    moved = (tokens.logp - tokens.old_logp).detach()
    assert chosen.sum() > 5
    assert torch.equal(gradient, torch.where(chosen, 2 * moved.sign(), 0.0))


def test_an_equal_policy_gets_no_gradient() -> None:
    tokens, rollouts, signal = batch()
    tokens = replace(tokens, logp=tokens.old_logp.clone().requires_grad_())
    links = chain([KLCov(share=1.0)])
    links.on_advantages(rollouts, signal.advantage)
    after, _ = links.on_tokens(tokens, signal)
    (gradient,) = torch.autograd.grad(after.penalty.sum(), tokens.logp)
    assert not gradient.any()


@pytest.mark.parametrize("clip", [False, True])
def test_the_ratio_is_bounded_only_if_asked(clip: bool) -> None:
    tokens, rollouts, signal = batch()
    tokens = replace(tokens, logp=(tokens.old_logp + 30.0).requires_grad_())
    links = chain([KLCov(clip=clip)])
    links.on_advantages(rollouts, signal.advantage)
    after, _ = links.on_tokens(tokens, signal)
    PPO()(tokens, after).sum().backward()
    assert tokens.logp.grad is not None
    up = tokens.mask & (signal.advantage > 0)
    assert up.any()
    assert (tokens.logp.grad[up] != 0).all() == (not clip)


def test_without_an_advantage_nothing_is_penalised() -> None:
    tokens, rollouts, signal = batch()
    nothing = replace(signal, advantage=torch.zeros_like(tokens.old_logp))
    links = chain([KLCov(share=0.5)])
    links.on_advantages(rollouts, nothing.advantage)
    assert not links.on_tokens(tokens, nothing)[0].penalty.any()


@pytest.mark.parametrize(
    "given", [{"share": -0.1}, {"share": 1.1}, {"weight": -1.0}, {"weight": math.inf}]
)
def test_kl_cov_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        KLCov(**given)


def test_needs_and_released_scope() -> None:
    assert KLCov().needs == {"old_logp", "several_updates"}
    assert KLCov(as_released=True).needs == {"several_updates"}
    assert KLCov(as_released=True).scope == "micro_batch"
