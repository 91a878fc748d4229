"""SimKO: which tokens share their gradient, with what slope, and which mistakes weigh more."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.distributions import Statistic
from rlent.interventions import SimKO
from rlent.objective import build_objective
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number

TOP, IS_TOP1 = Statistic("mean_top_log_prob", 3), Statistic("is_top1")
MASK = torch.arange(6).expand(3, 6) < torch.tensor([[6], [5], [6]])
REWARD = torch.tensor([1.0, 0.0, float("nan")]).double()


def records() -> tuple[Tokens, Signal]:
    """A right completion, a wrong one, and one that could not be scored; old policy far enough for clips."""
    tokens = replace(make_tokens(rows=3, length=6, mask=MASK, drift=0.3, seed=1), reward=REWARD)
    signs = torch.tensor([[0.8], [-0.6], [0.5]]).double()
    return tokens, replace(make_signal(tokens), advantage=signs.expand(3, 6))


def uncertain(tokens: Tokens, row: int, share: float) -> list[int]:
    """Positions above the quantile of the row's entropies."""
    values = tokens.entropy[row][MASK[row]].tolist()
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    bound = ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
    return [t for t, value in enumerate(values) if value > bound]


@pytest.mark.parametrize("share", [0.8, 0.2])
def test_the_gradient_of_right_tokens_is_shared(share: float) -> None:
    tokens, plain = records()
    signal, metrics = SimKO(mix=0.3, boost=1.0, quantile=share).on_tokens(tokens, plain)
    assert not signal.penalty.any()
    top = tokens.statistics[TOP]
    step = Step(micro_batches=1, tokens=MASK.sum().double(), max_length=6)
    loss = build_objective("dapo")(tokens, signal, counted=step, everything=step)
    given_logp, given_top = torch.autograd.grad(loss, (tokens.logp, top))
    shared = uncertain(tokens, 0, share)
    clipped = 0
    for i in range(3):
        for t in range(6):
            ratio = (tokens.logp[i, t] - tokens.old_logp[i, t]).exp().item()
            advantage = plain.advantage[i, t].item()
            flat = ratio > 1.28 if advantage > 0 else ratio < 0.8
            slope = 0.0 if flat or not MASK[i, t] else -ratio * advantage / MASK.sum().item()
            mixed = i == 0 and t in shared
            clipped += mixed and flat
            own, others = (0.7 * slope, 0.3 * slope) if mixed else (slope, 0.0)
            assert given_logp[i, t].item() == pytest.approx(own, abs=1e-12)
            assert given_top[i, t].item() == pytest.approx(others, abs=1e-12)
    assert clipped or share == 0.8
    assert number(metrics["shared"]) == pytest.approx(len(shared) / 17)


def test_tokens_that_do_not_learn_share_nothing() -> None:
    tokens, plain = records()
    nothing = replace(plain, select=torch.zeros_like(MASK))
    signal, _ = SimKO(mix=0.3, quantile=0.0).on_tokens(tokens, nothing)
    (gradient,) = torch.autograd.grad(signal.penalty.sum(), tokens.statistics[TOP])
    assert not gradient.any()


def test_sure_mistakes_weigh_more() -> None:
    tokens, plain = records()
    signal, metrics = SimKO(boost=1.5, quantile=0.2).on_tokens(tokens, plain)
    top = tokens.statistics[IS_TOP1]
    expected = torch.ones(3, 6).double()
    for t in uncertain(tokens, 1, 0.2):
        expected[1, t] = 1.5 if top[1, t] else 1.0
    assert 0 < (expected > 1).sum() < 5
    assert torch.equal(signal.weight, expected)
    assert number(metrics["boosted"]) == pytest.approx((expected > 1).sum().item() / 17)


def test_what_is_right_is_a_setting() -> None:
    tokens, plain = records()
    assert number(SimKO(correct=-1.0).on_tokens(tokens, plain)[1]["boosted"]) == 0.0
    assert number(SimKO(correct=1.0).on_tokens(tokens, plain)[1]["shared"]) == 0.0


def test_needs() -> None:
    assert SimKO(top_k=5).statistics == {Statistic("mean_top_log_prob", 5), IS_TOP1}
    assert SimKO().needs == {"entropy", "statistics", "token_clipping"}


@pytest.mark.parametrize(
    "given", [{"mix": -0.1}, {"mix": 1.1}, {"top_k": 0}, {"boost": -1.0}, {"quantile": 1.0}]
)
def test_what_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        SimKO(**given)
