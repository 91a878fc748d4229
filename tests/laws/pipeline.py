"""All stages of a chain on the small records, as the trainer runs them."""

import math
from collections.abc import Mapping
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
    rollouts, tokens, first = begin(links, rollouts, tokens)
    advantage, second = links.on_advantages(rollouts, signal.advantage)
    selection, third = links.on_select(rollouts, everything(rollouts.mask))
    signal = replace(signal, advantage=advantage, select=selection.select, count=selection.count)
    signal, fourth = links.on_tokens(tokens, signal)
    return signal, {**first, **second, **third, **fourth}


def begin(
    links: Chain, rollouts: Rollouts, tokens: Tokens
) -> tuple[Rollouts, Tokens, dict[str, Any]]:
    """The stages that come before advantages: rewards, and completions that are given up."""
    reward, first = links.on_rewards(rollouts)
    rollouts = replace(rollouts, reward=reward)
    keep, second = links.on_filter(rollouts, torch.ones_like(rollouts.truncated))
    mask = rollouts.mask & keep.unsqueeze(1)
    rollouts = replace(rollouts, mask=mask)
    return rollouts, replace(tokens, mask=mask, reward=reward), {**first, **second}


def number(metric: Mean | Tensor | float) -> float:
    if isinstance(metric, Mean):
        return float(metric.total) / max(float(metric.count), 1.0)
    return float(metric)


def with_junk(tokens: Tokens, junk: float) -> Tokens:
    """The same records with ``junk`` at every masked position of every field."""

    def spoil(values: Tensor, mask: Tensor = tokens.mask) -> Tensor:
        if values.dtype == torch.bool:
            return values | ~mask
        return torch.where(mask, values.detach(), junk).requires_grad_(values.requires_grad)

    assert tokens.old_entropy is not None
    assert tokens.ref_logp is not None
    assert tokens.ref_kl is not None
    assert tokens.prompt_logp is not None
    assert tokens.prompt_mask is not None
    assert tokens.per_completion is not None
    return replace(
        tokens,
        ref_kl=spoil(tokens.ref_kl),
        prompt_logp=spoil(tokens.prompt_logp, tokens.prompt_mask),
        per_completion=spoil(tokens.per_completion),
        logp=spoil(tokens.logp),
        entropy=spoil(tokens.entropy),
        old_logp=spoil(tokens.old_logp),
        old_entropy=spoil(tokens.old_entropy),
        ref_logp=spoil(tokens.ref_logp),
        statistics={each: spoil(values) for each, values in tokens.statistics.items()},
        old_statistics={each: spoil(values) for each, values in tokens.old_statistics.items()},
    )


def rows(record: Any, part: slice | Tensor) -> Any:
    """The same record for some of its rows."""
    fields = {name: getattr(record, name) for name in record.__dataclass_fields__}
    cut = {name: value[part] for name, value in fields.items() if isinstance(value, Tensor)}
    statistics = {
        name: {each: values[part] for each, values in value.items()}
        for name, value in fields.items()
        if isinstance(value, Mapping)
    }
    return replace(record, **cut, **statistics)


def signal_tensors(signal: Signal | Selection) -> dict[str, Tensor]:
    return {name: getattr(signal, name) for name in signal.__dataclass_fields__}
