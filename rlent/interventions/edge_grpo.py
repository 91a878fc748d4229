"""Larger advantages for the completions that the policy was surest of, smaller ones for the others.

Zhang et al., "EDGE-GRPO: Entropy-Driven GRPO with Guided Error Correction for Advantage Diversity", arXiv 2507.21848
(entropy-driven advantage)::

    A_i  <-  A_i mean_group(H) / H_i

with ``H_i`` the mean entropy of the tokens of completion ``i`` (nats). A confident correct completion is rewarded more,
a confident wrong one punished more; where all advantages of a group are 0 they stay 0. Here ``H_i`` is a constant: the
entropies at generation, of the prompt's whole group. The paper's guided error correction is not part of this.

The paper was not read, only accounts of it; of the code, the loss. It takes the entropies of the current policy,
compares each completion with all that the ranks run in the same micro-batch, whatever their prompts are, and lets
gradient flow through ``1 / H_i`` (the mean is a constant), which pushes entropy down where the advantage is positive::

    dL/dH_i  =  - (sum_t l_t) / H_i,        l_t what token t adds to the policy term

``as_released: true`` does so too. The gradient is a penalty of value 0, averaged over all tokens as penalties are:
where an earlier intervention averages the policy term over fewer tokens, it weighs less. What changes the signal must
be listed before it. One thing stays mended: in the code the entropies of padding are in ``H_i``, so that the advantage
depends on how long the longest completion is; here padding has no influence, and ``rlent conformance`` compares with
padding that is counted as tokens. Recipe::

    interventions:
      - edge_grpo
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill, unit
from rlent.released import take_released_settings
from rlent.surrogates import PPO
from rlent.types import Rollouts, Signal, Tokens

_FLOOR = 1e-6
"""Nats; a completion of certain tokens must not divide by 0."""
_READ = frozenset({"select", "advantage", "weight", "clip_low", "clip_high"})
"""What the gradient through the entropies is computed from."""


@dataclass(frozen=True, kw_only=True)
class EdgeGRPO(Intervention):
    """Divide the advantage of every completion by its mean entropy, relative to its group."""

    name: ClassVar[str] = "edge_grpo"
    paper: ClassVar[str] = "EDGE-GRPO, arXiv 2507.21848 (second-hand)"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})

    power: float = 1.0
    """Of the relative entropy that the advantage is divided by; 0 changes nothing."""
    as_released: bool = False
    """The released code: current entropies with their gradient, relative to all completions of a micro-batch."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.power < math.inf:
            raise ValueError(f"power must be 0 or positive, got {self.power}")
        if self.as_released:
            take_released_settings(self, {"power": 1.0})
            # Of this form alone; the other one composes with more.
            object.__setattr__(self, "writes", self.writes | {"penalty"})
            object.__setattr__(self, "reads", _READ)

    @classmethod
    def neutral(cls) -> "EdgeGRPO":
        return cls(power=0.0)

    @property
    def needs(self) -> frozenset[str]:
        if self.as_released:
            return frozenset({"entropy_grad", "plain_clipping"})
        return frozenset({"old_entropy", "whole_groups"})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        if self.as_released:
            return advantage, {}
        assert rollouts.old_entropy is not None
        entropy = _mean_entropy(rollouts.old_entropy, rollouts.mask)
        counted = rollouts.mask.any(1)
        factor = (_group_mean(entropy, counted, rollouts.group) / entropy) ** self.power
        factor = fill(factor, counted, 1.0).to(advantage.dtype)
        return advantage * factor.unsqueeze(1), _metrics(factor, entropy, counted)

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        """The released form, which differentiates the entropies."""
        if not self.as_released:
            return signal, {}
        entropy = _mean_entropy(tokens.entropy, tokens.mask)
        counted = tokens.mask.any(1)
        sums = torch.stack([fill(entropy.detach(), counted).sum(), counted.sum()])
        total, number = tokens.reduce.sum(sums.double()).unbind()
        mean = (total / number.clamp(min=1)).to(entropy.dtype)
        factor = fill(mean / entropy.detach(), counted, 1.0).to(signal.advantage.dtype)
        signal = replace(signal, advantage=signal.advantage * factor.unsqueeze(1))
        learns = signal.select & tokens.mask
        value = fill(PPO()(tokens, signal).detach() * fill(signal.weight, learns), learns)
        # Value and advantage are proportional: the derivative by the factor's logarithm is the value.
        gradient = value * (unit(-entropy.log()) - 1).unsqueeze(1)
        return replace(signal, penalty=signal.penalty + gradient), _metrics(
            factor, entropy.detach(), counted
        )


def _metrics(
    factor: Float[Tensor, " n"], entropy: Float[Tensor, " n"], counted: Bool[Tensor, " n"]
) -> Metrics:
    return {
        "factor": Mean(fill(factor, counted).sum(), counted.sum()),
        "entropy": Mean(fill(entropy, counted).sum(), counted.sum()),
    }


def _mean_entropy(entropy: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"]) -> Float[Tensor, " n"]:
    """Mean over the tokens of each completion, nats; never 0."""
    return (fill(entropy, mask).sum(1) / mask.sum(1).clamp(min=1)).clamp(min=_FLOOR)


def _group_mean(
    values: Float[Tensor, " n"], counted: Bool[Tensor, " n"], group: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """For every completion, the mean over its group's completions that count."""
    numbers, row = group.unique(return_inverse=True)
    sums = values.new_zeros(2, len(numbers))
    sums.index_add_(1, row, torch.stack([fill(values, counted), counted.to(values.dtype)]))
    return (sums[0] / sums[1].clamp(min=1))[row]
