"""The one expression, token by token in plain Python."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlent.aggregate import AGGREGATES, Step
from rlent.numerics import fill
from rlent.objective import LOSS_TYPES, LossType, Objective, build_objective
from rlent.surrogates import SURROGATES
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens

MAX_LENGTH = 11
COUNTED = Step(micro_batches=2, tokens=torch.tensor(5.0), max_length=MAX_LENGTH)
EVERYTHING = Step(micro_batches=2, tokens=torch.tensor(13.0), max_length=MAX_LENGTH)


def make_batch(seed: int = 0) -> tuple[Tokens, Signal]:
    """Every field of the signal is different at every token."""
    tokens = make_tokens(5, 6, seed=seed, drift=0.6)
    g = torch.Generator().manual_seed(seed)

    def uniform() -> Tensor:
        return torch.rand(5, 6, generator=g, dtype=torch.float64)

    signal = replace(
        make_signal(tokens, seed=seed),
        select=uniform() < 0.6,
        count=uniform() < 0.7,
        advantage=uniform() - 0.5,
        weight=uniform() + 0.5,
        clip_low=0.6 + 0.3 * uniform(),
        clip_high=1.1 + 0.3 * uniform(),
        penalty=uniform() - 0.3,
    )
    return tokens, signal


def token_loss(
    surrogate: str,
    logp: float,
    ratio: float,
    sequence: float,
    a: float,
    low: float,
    high: float,
) -> float:
    """Args: sequence: product of the ratios of the token's sequence."""
    match surrogate:
        case "ppo":
            return -min(ratio * a, min(max(ratio, low), high) * a)
        case "cispo":
            return -min(max(ratio, low), high) * a * logp
        case "sapo":
            tau = 1.0 if a > 0 else 1.05
            return -4 / tau / (1 + math.exp(-tau * (ratio - 1))) * a
        case "vespo":
            k, decay = (2.0, 3.0) if a >= 0 else (3.0, 2.0)
            return -(sequence**k) * math.exp(decay * (1 - sequence)) * a * logp
    raise AssertionError(f"no formula for {surrogate}")


def normalised(aggregate: str, rows: list[list[float]], counts: list[int], step: Step) -> float:
    sums = [sum(row) for row in rows]
    match aggregate:
        case "sequence_mean":
            means = [total / max(n, 1) for total, n in zip(sums, counts, strict=True)]
            return sum(means) / len(rows) / step.micro_batches
        case "sequence_sum":
            return sum(sums) / len(rows) / step.micro_batches
        case "token_mean":
            return sum(sums) / max(sum(counts), 1) / step.micro_batches
        case "step_token_mean":
            return sum(sums) / step.tokens.item()
        case "constant":
            return sum(sums) / (len(rows) * step.max_length) / step.micro_batches
    raise AssertionError(f"no formula for {aggregate}")


def expression(loss_type: str, tokens: Tokens, signal: Signal) -> float:
    """``sum select weight surrogate / Z(count) + sum penalty / Z(mask)`` by loops."""
    names = LOSS_TYPES[loss_type]
    policy, penalty = [], []
    counted, everything = (signal.count & tokens.mask).sum(1), tokens.mask.sum(1)
    for i in range(len(tokens.mask)):
        places = [t for t in range(tokens.mask.shape[1]) if tokens.mask[i, t]]
        terms = []
        moved = [(tokens.logp[i, t] - tokens.old_logp[i, t]).item() for t in places]
        sequence = math.exp(math.fsum(moved))
        for t in places:
            logp = tokens.logp[i, t].item()
            ratio = math.exp(logp - tokens.old_logp[i, t].item())
            advantage = signal.advantage[i, t].item()
            bounds = signal.clip_low[i, t].item(), signal.clip_high[i, t].item()
            loss = token_loss(names.surrogate, logp, ratio, sequence, advantage, *bounds)
            terms.append(signal.select[i, t].item() * signal.weight[i, t].item() * loss)
        policy.append(terms)
        penalty.append([signal.penalty[i, t].item() for t in places])
    return normalised(names.aggregate, policy, counted.tolist(), COUNTED) + normalised(
        names.aggregate, penalty, everything.tolist(), EVERYTHING
    )


def loss_and_gradient(
    objective: Objective, tokens: Tokens, signal: Signal
) -> tuple[Tensor, Tensor]:
    loss = objective(tokens, signal, COUNTED, EVERYTHING)
    (gradient,) = torch.autograd.grad(loss, tokens.logp, materialize_grads=True)
    return loss.detach(), gradient


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_objective_is_the_expression(loss_type: str, seed: int) -> None:
    tokens, signal = make_batch(seed)
    loss, _ = loss_and_gradient(build_objective(loss_type), tokens, signal)
    assert loss.item() == pytest.approx(expression(loss_type, tokens, signal), abs=1e-12)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_only_selected_tokens_send_policy_gradient(loss_type: str, surrogate: str) -> None:
    tokens, signal = make_batch()
    wide = replace(signal, clip_low=0 * signal.clip_low, clip_high=9 * signal.clip_high)
    # Probabilities that differ by less than a divergence may: nothing is clipped.
    tokens = replace(tokens, old_logp=tokens.logp.detach() - 0.1)
    objective = build_objective(loss_type, SURROGATES[surrogate]())
    _, gradient = loss_and_gradient(objective, tokens, wide)
    assert torch.equal(gradient != 0, wide.select & tokens.mask)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_penalty_sends_gradient_from_unselected_tokens_too(loss_type: str) -> None:
    tokens, signal = make_batch()
    nothing = torch.zeros_like(signal.select)
    signal = replace(signal, select=nothing, penalty=tokens.logp * 2)
    _, gradient = loss_and_gradient(build_objective(loss_type), tokens, signal)
    assert torch.equal(gradient != 0, tokens.mask)


@pytest.mark.parametrize("junk", [math.nan, math.inf])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_masked_positions_never_leak(loss_type: str, junk: float) -> None:
    tokens, signal = make_batch()

    def spoil(values: Tensor) -> Tensor:
        return torch.where(tokens.mask, values.detach(), junk)

    dirty_tokens = replace(
        tokens, logp=spoil(tokens.logp).requires_grad_(), old_logp=spoil(tokens.old_logp)
    )
    fields = ("advantage", "weight", "clip_low", "clip_high", "keep_low", "keep_high", "penalty")
    dirty_signal = replace(
        signal,
        select=signal.select | ~tokens.mask,
        count=signal.count | ~tokens.mask,
        **{field: spoil(getattr(signal, field)) for field in fields},
    )
    objective = build_objective(loss_type)
    clean = loss_and_gradient(objective, tokens, signal)
    dirty = loss_and_gradient(objective, dirty_tokens, dirty_signal)
    for expected, given in zip(clean, dirty, strict=True):
        torch.testing.assert_close(given, expected, rtol=0, atol=0)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_an_unselected_token_may_hold_a_weight_that_is_not_a_number(loss_type: str) -> None:
    tokens, signal = make_batch()
    spoilt = replace(signal, weight=torch.where(signal.select, signal.weight, math.nan))
    objective = build_objective(loss_type)
    pairs = zip(
        loss_and_gradient(objective, tokens, signal),
        loss_and_gradient(objective, tokens, spoilt),
        strict=True,
    )
    for expected, given in pairs:
        torch.testing.assert_close(given, expected, rtol=0, atol=0)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_nothing_selected_gives_zero_loss_and_zero_gradient(loss_type: str, counted: bool) -> None:
    tokens, signal = make_batch()
    nothing = torch.zeros_like(signal.select)
    signal = replace(
        signal,
        select=nothing,
        count=signal.count if counted else nothing,
        penalty=torch.zeros_like(signal.penalty),
    )
    loss, gradient = loss_and_gradient(build_objective(loss_type), tokens, signal)
    assert loss.item() == 0.0
    assert not gradient.any()


def test_a_fully_masked_batch_gives_zero_loss_and_zero_gradient() -> None:
    tokens, signal = make_batch()
    tokens = replace(tokens, mask=torch.zeros_like(tokens.mask))
    empty = Step(micro_batches=1, tokens=torch.tensor(0.0), max_length=MAX_LENGTH)
    for loss_type in LOSS_TYPES:
        loss = build_objective(loss_type)(tokens, signal, empty, empty)
        (gradient,) = torch.autograd.grad(loss, tokens.logp)
        assert loss.item() == 0.0
        assert not gradient.any()


def test_the_two_terms_have_their_own_denominators() -> None:
    tokens, signal = make_batch()
    one = torch.ones_like(signal.weight)
    signal = replace(signal, advantage=-one, weight=one, penalty=one, clip_high=9 * one)
    on_policy = replace(tokens, old_logp=tokens.logp.detach())
    loss, _ = loss_and_gradient(build_objective("dapo"), on_policy, signal)
    learning = (signal.select & tokens.mask).sum().item()
    assert loss.item() == pytest.approx(learning / 5.0 + tokens.mask.sum().item() / 13.0)


@pytest.mark.parametrize(("loss_type", "names"), LOSS_TYPES.items())
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_another_surrogate_keeps_the_average(
    surrogate: str, loss_type: str, names: LossType
) -> None:
    tokens, signal = make_batch()
    objective = build_objective(loss_type, SURROGATES[surrogate]())
    signal = replace(signal, penalty=torch.zeros_like(signal.penalty))
    learns = signal.select & tokens.mask
    policy = fill(SURROGATES[surrogate]()(tokens, signal) * signal.weight, learns)
    expected = AGGREGATES[names.aggregate](policy, signal.count & tokens.mask, COUNTED)
    assert objective(tokens, signal, COUNTED, EVERYTHING).item() == expected.item()
