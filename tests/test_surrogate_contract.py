"""What every surrogate promises: no leak from masked positions, finite numbers, and only the fields it lists."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.numerics import MAX_LOG_RATIO
from rlent.surrogates import CISPO, DPPO, GSPO, PPO, SAPO, SURROGATES, Surrogate
from rlent.trainer.metrics import clip_extremes, surrogate_means
from rlent.types import Signal, Tokens
from tests.surrogate_examples import at_log_ratios, drifted, value_and_gradient

CONFIGS: dict[str, Surrogate] = {
    **{name: cls() for name, cls in SURROGATES.items()},
    "ppo of sequences": PPO(level="sequence", dual_clip=3.0),
    "gspo, dual clip": GSPO(dual_clip=3.0),
    "ppo of sequences, arithmetic": PPO(level="sequence_arithmetic"),
    "cispo on both sides, of sequences": CISPO(sides="both", level="sequence"),
    "sapo of sequences": SAPO(level="sequence"),
    "dppo by kl": DPPO(divergence="kl", max_ratio=None),
}
"""Every surrogate, and a configuration for each branch of its code."""

BOUND_FIELDS = ("clip_low", "clip_high", "keep_low", "keep_high")


def floats_filled(record: Any, mask: Tensor, junk: float) -> dict[str, Tensor]:
    """Every float field of a record, with ``junk`` at masked positions."""
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {
        name: torch.where(mask, value.detach(), junk)
        for name, value in values.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.shape == mask.shape
    }


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", CONFIGS)
def test_masked_positions_never_leak(name: str, junk: float) -> None:
    tokens, signal = drifted()
    dirty_tokens = replace(tokens, **floats_filled(tokens, tokens.mask, junk))
    dirty_signal = replace(signal, **floats_filled(signal, tokens.mask, junk))
    dirty_tokens.logp.requires_grad_()
    surrogate = CONFIGS[name]
    clean, dirty = surrogate(tokens, signal), surrogate(dirty_tokens, dirty_signal)
    assert not dirty[~tokens.mask].any()
    torch.testing.assert_close(dirty, clean, rtol=0, atol=0)
    (clean_gradient,) = torch.autograd.grad(clean.sum(), tokens.logp)
    (gradient,) = torch.autograd.grad(dirty.sum(), dirty_tokens.logp)
    assert not gradient[~tokens.mask].any()
    torch.testing.assert_close(gradient, clean_gradient, rtol=0, atol=0)
    said, said_of_dirty = (
        {**surrogate_means(surrogate, *given), **clip_extremes(surrogate, *given)}
        for given in ((tokens, signal), (dirty_tokens, dirty_signal))
    )
    assert said == said_of_dirty


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("keep", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CONFIGS)
def test_extreme_ratios_stay_finite(
    name: str, dtype: torch.dtype, keep: float, advantage: float
) -> None:
    extremes = [-1e4, -104.0, -21.0, -20.0, 20.0, 21.0, 89.0, 710.0, 1e4]
    tokens, signal = at_log_ratios(extremes, advantage, dtype)
    kept = torch.full_like(tokens.old_logp, keep)
    loss = CONFIGS[name](tokens, replace(signal, keep_low=kept, keep_high=kept))
    assert loss.isfinite().all()
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    assert gradient.isfinite().all()


def test_a_ratio_beyond_the_clamp_saturates_and_keeps_its_gradient() -> None:
    tokens, signal = at_log_ratios([25.0, MAX_LOG_RATIO], -1.0, torch.float64)
    loss = PPO()(tokens, signal)
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    saturated = math.exp(MAX_LOG_RATIO)
    assert loss.flatten().tolist() == pytest.approx([saturated, saturated])
    assert gradient.flatten().tolist() == pytest.approx([saturated, saturated])


def effect(name: str, tokens: Tokens, signal: Signal) -> tuple[Tensor, Tensor]:
    loss = SURROGATES[name]()(tokens, signal)
    return value_and_gradient(loss, tokens)


@pytest.mark.parametrize("field", BOUND_FIELDS)
@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_reads_exactly_the_fields_that_it_lists(name: str, field: str) -> None:
    tokens, signal = drifted()
    moved = replace(signal, **{field: getattr(signal, field) + 0.1})
    pairs = zip(effect(name, tokens, signal), effect(name, tokens, moved), strict=True)
    changed = any(not torch.equal(before, after) for before, after in pairs)
    assert changed == (field in SURROGATES[name].reads)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_leaves_selection_weight_and_penalty_to_the_objective(name: str) -> None:
    tokens, signal = drifted()
    moved = replace(
        signal,
        select=torch.zeros_like(signal.select),
        count=torch.zeros_like(signal.count),
        weight=signal.weight + 1,
        penalty=signal.penalty + 1,
    )
    for before, after in zip(
        effect(name, tokens, signal), effect(name, tokens, moved), strict=True
    ):
        assert torch.equal(before, after)


def test_the_table_lists_only_bound_fields() -> None:
    assert all(surrogate.reads <= set(BOUND_FIELDS) for surrogate in SURROGATES.values())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_sequence_without_tokens_adds_nothing(name: str) -> None:
    tokens, signal = drifted()
    empty = tokens.mask & (torch.arange(len(tokens.mask)) % 2 == 0).unsqueeze(1)
    tokens = replace(tokens, mask=empty)
    loss = CONFIGS[name](tokens, signal)
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    assert loss[~empty].eq(0).all()
    assert gradient[~empty].eq(0).all()
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", CONFIGS)
def test_at_ratio_one_every_surrogate_has_the_policy_gradient(name: str) -> None:
    tokens, signal = drifted()
    tokens = replace(tokens, old_logp=tokens.logp.detach())
    one = torch.ones_like(tokens.old_logp)
    signal = replace(signal, clip_low=0.8 * one, clip_high=1.28 * one)
    (gradient,) = torch.autograd.grad(CONFIGS[name](tokens, signal).sum(), tokens.logp)
    expected = torch.where(tokens.mask, -signal.advantage, 0.0)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SURROGATES)
def test_only_a_surrogate_that_says_so_learns_without_an_advantage(name: str) -> None:
    tokens, signal = drifted()
    signal = replace(signal, advantage=torch.zeros_like(signal.advantage))
    (gradient,) = torch.autograd.grad(SURROGATES[name]()(tokens, signal).sum(), tokens.logp)
    assert gradient.any().item() == SURROGATES[name].learns_without_advantage
