"""One pass of a chain over a generation batch, in the trainer's order, at the first update: every ratio is 1."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlent.advantages import group_advantages
from rlent.aggregate import Step
from rlent.interventions import Chain, Mean, Metrics
from rlent.numerics import fill
from rlent.objective import Objective
from rlent.types import Rollouts, Selection, Signal, Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a recipe says of advantages and of the loss."""

    objective: Objective
    scale: Literal["group", "batch", "none"]
    """What rewards are divided by: TRL's ``scale_rewards``."""
    bounds: tuple[float, float]
    """On the ratio."""
    max_length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What the chain did."""

    rollouts: Rollouts
    """With the rewards after ``on_rewards``; tokens of completions that were given up are masked."""
    signal: Signal
    push: Float[Tensor, "n t"]
    """``-N dL / dlogp``, with L the loss of the batch and N its number of tokens: for plain GRPO, whose denominator
    counts all tokens, the advantage. 0 where nothing is learnt."""
    metrics: dict[str, float]
    """Of the chain."""


def apply_chain(links: Chain, rollouts: Rollouts, entropy: Tensor, setting: Setting) -> Effect:
    """Every stage of ``links`` but ``on_step``.

    Args:
        rollouts: a whole generation batch, of all ranks, with ``old_logp``.
        entropy: [n t] nats, of the policy that generated.
    """
    reward, first = links.on_rewards(rollouts)
    rollouts = replace(rollouts, reward=reward)
    keep, second = links.on_filter(rollouts, torch.ones_like(rollouts.truncated))
    rollouts = replace(rollouts, mask=rollouts.mask & keep.unsqueeze(1))
    assert rollouts.old_logp is not None
    base = grouped_advantages(
        torch.where(keep, reward, torch.nan), rollouts.group, scale=setting.scale
    )
    spread = base.unsqueeze(1).expand_as(rollouts.mask).to(rollouts.old_logp.dtype)
    advantage, third = links.on_advantages(rollouts, spread)
    selection, fourth = links.on_select(
        rollouts, Selection(select=rollouts.mask, count=rollouts.mask)
    )
    tokens = _tokens(rollouts, entropy)
    signal, fifth = links.on_tokens(tokens, _signal(advantage, selection, setting))
    return Effect(
        rollouts=rollouts,
        signal=signal,
        push=_push(tokens, signal, setting),
        metrics=_numbers({**first, **second, **third, **fourth, **fifth}),
    )


def grouped_advantages(
    reward: Float[Tensor, " n"],
    group: Int[Tensor, " n"],
    *,
    scale: Literal["group", "batch", "none"],
) -> Float[Tensor, " n"]:
    """``group_advantages`` of groups of any sizes in any order."""
    _, number, size = group.unique(return_inverse=True, return_counts=True)
    order = number.argsort(stable=True)
    place = torch.arange(len(group)) - (size.cumsum(0) - size)[number[order]]
    padded = reward.new_full((len(size), int(size.max())), torch.nan)
    padded[number[order], place] = reward[order]
    advantages = group_advantages(padded.flatten(), padded.size(1), scale).view_as(padded)
    return reward.new_zeros(len(reward)).index_copy(0, order, advantages[number[order], place])


def _tokens(rollouts: Rollouts, entropy: Tensor) -> Tokens:
    assert rollouts.old_logp is not None
    return Tokens(
        logp=rollouts.old_logp.detach().clone().requires_grad_(),
        entropy=entropy,
        old_logp=rollouts.old_logp,
        old_entropy=rollouts.old_entropy,
        ref_logp=None,
        mask=rollouts.mask,
        group=rollouts.group,
        reward=rollouts.reward,
        step=rollouts.step,
    )


def _signal(advantage: Tensor, selection: Selection, setting: Setting) -> Signal:
    one = torch.ones_like(advantage)
    low, high = setting.bounds
    return Signal(
        select=selection.select,
        count=selection.count,
        advantage=advantage,
        weight=one,
        clip_low=low * one,
        clip_high=high * one,
        keep_low=0.0 * one,
        keep_high=0.0 * one,
        penalty=0.0 * one,
    )


def _push(tokens: Tokens, signal: Signal, setting: Setting) -> Float[Tensor, "n t"]:
    def step(counted: Tensor) -> Step:
        total = (counted & tokens.mask).sum().float().clamp(min=1)
        sequences = tokens.mask.any(dim=1).sum()
        return Step(
            micro_batches=1, tokens=total, max_length=setting.max_length, sequences=sequences
        )

    loss = setting.objective(
        tokens, signal, counted=step(signal.count), everything=step(tokens.mask)
    )
    (gradient,) = torch.autograd.grad(loss, tokens.logp)
    return fill(-gradient * tokens.mask.sum(), tokens.mask)


def _numbers(metrics: Metrics) -> dict[str, float]:
    return {name: _number(metric) for name, metric in metrics.items()}


def _number(metric: Mean | Tensor | float) -> float:
    if isinstance(metric, Mean):
        return float(metric.total) / max(float(metric.count), 1.0)
    return float(metric)
