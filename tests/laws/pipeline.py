"""All stages of a chain on the small records, as the trainer runs them."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlent.interventions import Chain, Mean
from rlent.types import Rollouts, Selection, Signal, Tokens
from tests.interventions.examples import everything, make_rollouts, make_signal

JUNK = {"nan": math.nan, "inf": math.inf}


def run_chain(
    links: Chain, tokens: Tokens, *, rollouts: Rollouts | None = None, signal: Signal | None = None
) -> tuple[Signal, dict[str, Any]]:
    """Every stage in the trainer's order; the signal that reaches the surrogate, and all metrics."""
    rollouts = make_rollouts(tokens) if rollouts is None else rollouts
    signal = make_signal(tokens) if signal is None else signal
    reward, first = links.on_rewards(rollouts)
    advantage, second = links.on_advantages(replace(rollouts, reward=reward), signal.advantage)
    selection, third = links.on_select(rollouts, everything(rollouts.mask))
    signal = replace(signal, advantage=advantage, select=selection.select, count=selection.count)
    signal, fourth = links.on_tokens(tokens, signal)
    return signal, {**first, **second, **third, **fourth}


def number(metric: Mean | Tensor | float) -> float:
    if isinstance(metric, Mean):
        return float(metric.total / metric.count.clamp(min=1))
    return float(metric)


def with_junk(tokens: Tokens, junk: float) -> Tokens:
    """The same records with ``junk`` at every masked position of every field."""

    def spoil(values: Tensor) -> Tensor:
        return torch.where(tokens.mask, values.detach(), junk).requires_grad_(values.requires_grad)

    assert tokens.old_entropy is not None
    assert tokens.ref_logp is not None
    return replace(
        tokens,
        logp=spoil(tokens.logp),
        entropy=spoil(tokens.entropy),
        old_logp=spoil(tokens.old_logp),
        old_entropy=spoil(tokens.old_entropy),
        ref_logp=spoil(tokens.ref_logp),
    )


def rows(record: Any, part: slice | Tensor) -> Any:
    """The same record for some of its rows."""
    cut = {
        name: getattr(record, name)[part]
        for name in record.__dataclass_fields__
        if isinstance(getattr(record, name), Tensor)
    }
    return replace(record, **cut)


def signal_tensors(signal: Signal | Selection) -> dict[str, Tensor]:
    return {name: getattr(signal, name) for name in signal.__dataclass_fields__}
