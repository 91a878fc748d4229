"""clip_cov: covariances and the range by plain loops; how many are dropped, and that chance decides which."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import ClipCov, chain
from rlent.types import Rollouts, Signal, Tokens
from tests.interventions.examples import everything, make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number


def covariances_by_loops(
    logp: torch.Tensor, advantage: torch.Tensor, mask: torch.Tensor
) -> dict[tuple[int, int], float]:
    places = [(row, place) for row, place in mask.nonzero().tolist()]
    mean_logp = math.fsum(logp[p].item() for p in places) / len(places)
    mean_advantage = math.fsum(advantage[p].item() for p in places) / len(places)
    return {
        p: (logp[p].item() - mean_logp) * (advantage[p].item() - mean_advantage) for p in places
    }


def batch() -> tuple[Tokens, Rollouts, Signal]:
    tokens = make_tokens(rows=16, length=9, drift=0.6)
    return tokens, make_rollouts(tokens), make_signal(tokens)


def dropped_globally(config: ClipCov) -> torch.Tensor:
    tokens, rollouts, signal = batch()
    links = chain([config])
    links.on_advantages(rollouts, signal.advantage)
    selection, _ = links.on_select(rollouts, everything(rollouts.mask))
    assert torch.equal(selection.count, rollouts.mask)
    return rollouts.mask & ~selection.select


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2, 1.0])
def test_the_whole_batch_loses_a_share_out_of_the_range(share: float) -> None:
    _, rollouts, signal = batch()
    assert rollouts.old_logp is not None
    covariance = covariances_by_loops(rollouts.old_logp, signal.advantage, rollouts.mask)
    eligible = {place for place, value in covariance.items() if 0.1 < value < 1.0}
    dropped = dropped_globally(ClipCov(share=share, low=0.1, high=1.0))
    assert len(eligible) > 10
    assert {tuple(place) for place in dropped.nonzero().tolist()} <= eligible
    assert dropped.sum() == min(math.floor(share * len(covariance)), len(eligible))


def test_the_draw_is_repeatable_and_follows_the_seed() -> None:
    config = ClipCov(share=0.05, low=0.0, high=9.0)
    first = dropped_globally(config)
    assert torch.equal(first, dropped_globally(config))
    assert not torch.equal(first, dropped_globally(replace(config, seed=1)))


def test_every_step_and_rank_draws_anew_and_a_resumed_one_the_same() -> None:
    tokens, _, signal = batch()
    config = ClipCov(share=0.05, low=0.0, high=9.0, scope="micro_batch")
    other_rank = replace(tokens, reduce=replace(tokens.reduce, rank=1))
    batches = [tokens, replace(tokens, step=4), other_rank, tokens]
    drawn = [chain([config]).on_tokens(given, signal)[0].select for given in batches]
    assert torch.equal(drawn[0], drawn[3])
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:3])


def test_every_eligible_token_is_as_likely_as_the_others() -> None:
    tokens, _, signal = batch()
    config = ClipCov(share=0.1, low=0.0, high=9.0, scope="micro_batch")
    links, drops = chain([config]), torch.zeros(tokens.mask.shape)
    for step in range(400):
        after, _ = links.on_tokens(replace(tokens, step=step), signal)
        drops += (tokens.mask & ~after.select).float()
    eligible = config.eligible(tokens, signal)
    expected = 400 * math.floor(0.1 * int(tokens.mask.sum())) / int(eligible.sum())
    assert (drops[eligible] - expected).abs().max() < 6 * math.sqrt(expected)
    assert (drops[~eligible] == 0).all()


@pytest.mark.parametrize("as_released", [False, True])
def test_a_micro_batch_uses_the_current_policy(as_released: bool) -> None:
    tokens, _, signal = batch()
    config = ClipCov(low=0.1, high=1.0, scope="micro_batch", as_released=as_released)
    covariance = covariances_by_loops(tokens.logp.detach(), signal.advantage, tokens.mask)
    expected = set()
    for place, value in covariance.items():
        ratio = math.exp(tokens.logp[place].item() - tokens.old_logp[place].item())
        positive = signal.advantage[place] > 0
        clipped = ratio > 1.28 if positive else ratio < 0.8
        if 0.1 < value < 1.0 and not (as_released and clipped):
            expected.add(place)
    eligible = config.eligible(tokens, signal)
    assert {tuple(place) for place in eligible.nonzero().tolist()} == expected


def test_as_released_drops_one_even_of_few_tokens() -> None:
    tokens, _, signal = batch()
    released = chain([ClipCov(low=0.1, high=9.0, as_released=True)])
    assert (tokens.mask & ~released.on_tokens(tokens, signal)[0].select).sum() == 1
    exact = chain([ClipCov(low=0.1, high=9.0, scope="micro_batch")])
    assert torch.equal(exact.on_tokens(tokens, signal)[0].select, tokens.mask)


def test_metrics_are_the_covariance_and_the_shares() -> None:
    tokens, rollouts, signal = batch()
    links = chain([ClipCov(share=0.05, low=0.1, high=1.0)])
    _, first = links.on_advantages(rollouts, signal.advantage)
    _, second = links.on_select(rollouts, everything(rollouts.mask))
    assert rollouts.old_logp is not None
    covariance = covariances_by_loops(rollouts.old_logp, signal.advantage, rollouts.mask)
    total = len(covariance)
    assert number(first["clip_cov/covariance"]) == pytest.approx(sum(covariance.values()) / total)
    inside = sum(0.1 < value < 1.0 for value in covariance.values())
    assert number(second["clip_cov/eligible"]) == pytest.approx(inside / total)
    assert number(second["clip_cov/dropped"]) == pytest.approx(math.floor(0.05 * total) / total)


@pytest.mark.parametrize(
    "given",
    [
        {"share": -0.1},
        {"share": 1.1},
        {"share": math.nan},
        {"low": 5.0},
    ],
)
def test_clip_cov_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        ClipCov(**given)


def test_needs_and_released_scope() -> None:
    assert ClipCov().needs == {"old_logp"}
    assert ClipCov(as_released=True).scope == "micro_batch"
    assert ClipCov(as_released=True).needs == set()
