"""What every surrogate promises: no leak from masked positions, finite numbers, and only the fields it lists."""

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from rlent.numerics import MAX_LOG_RATIO
from rlent.surrogates import SURROGATES, Level, ppo
from rlent.types import Signal, Tokens
from tests.surrogate_examples import at_log_ratios, drifted, value_and_gradient

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
@pytest.mark.parametrize("level", get_args(Level))
@pytest.mark.parametrize("name", SURROGATES)
def test_masked_positions_never_leak(name: str, level: str, junk: float) -> None:
    tokens, signal = drifted()
    dirty_tokens = replace(tokens, **floats_filled(tokens, tokens.mask, junk))
    dirty_signal = replace(signal, **floats_filled(signal, tokens.mask, junk))
    dirty_tokens.logp.requires_grad_()
    options: dict[str, Any] = {"level": level}
    function = SURROGATES[name].function
    clean, dirty = (
        function(tokens, signal, **options),
        function(dirty_tokens, dirty_signal, **options),
    )
    assert not dirty[~tokens.mask].any()
    torch.testing.assert_close(dirty, clean, rtol=0, atol=0)
    (clean_gradient,) = torch.autograd.grad(clean.sum(), tokens.logp)
    (gradient,) = torch.autograd.grad(dirty.sum(), dirty_tokens.logp)
    assert not gradient[~tokens.mask].any()
    torch.testing.assert_close(gradient, clean_gradient, rtol=0, atol=0)


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("keep", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SURROGATES)
def test_extreme_ratios_stay_finite(
    name: str, dtype: torch.dtype, keep: float, advantage: float
) -> None:
    extremes = [-1e4, -104.0, -21.0, 21.0, 89.0, 710.0, 1e4]
    tokens, signal = at_log_ratios(extremes, advantage, dtype)
    kept = torch.full_like(tokens.old_logp, keep)
    loss = SURROGATES[name].function(tokens, replace(signal, keep_low=kept, keep_high=kept))
    assert loss.isfinite().all()
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    assert gradient.isfinite().all()


def test_a_ratio_beyond_the_clamp_saturates_and_keeps_its_gradient() -> None:
    tokens, signal = at_log_ratios([25.0, MAX_LOG_RATIO], -1.0, torch.float64)
    loss = ppo(tokens, signal)
    (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
    saturated = math.exp(MAX_LOG_RATIO)
    assert loss.flatten().tolist() == pytest.approx([saturated, saturated])
    assert gradient.flatten().tolist() == pytest.approx([saturated, saturated])


def effect(name: str, tokens: Tokens, signal: Signal) -> tuple[Tensor, Tensor]:
    loss = SURROGATES[name].function(tokens, signal)
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
