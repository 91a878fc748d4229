"""Larger advantages for the completions that the policy was surest of, smaller ones for the others.

Zhang et al., "EDGE-GRPO: Entropy-Driven GRPO with Guided Error Correction for Advantage Diversity", arXiv 2507.21848
(entropy-driven advantage)::

    A_i  <-  A_i mean_group(H) / H_i

with ``H_i`` the mean entropy of the tokens of completion ``i`` (nats). A confident correct completion is rewarded more,
a confident wrong one punished more; where all advantages of a group are 0 they stay 0.

Neither paper nor code was read, only accounts of both; the golden cases hold the released numbers, and ``rlent
conformance`` does not compare them, because the released code

* averages entropy over the padding too, so that the advantage depends on how long the longest completion is, and
* lets gradient flow through ``1 / H_i``, which pushes entropy down where the advantage is positive.

Here padding has no influence and ``H_i`` is a constant: the entropies at generation, of the prompt's whole group. The
paper's guided error correction is not part of this. Recipe::

    interventions:
      - edge_grpo
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts

_FLOOR = 1e-6
"""Nats; a completion of certain tokens must not divide by 0."""


@dataclass(frozen=True, kw_only=True)
class EdgeGRPO(Intervention):
    """Divide the advantage of every completion by its mean entropy, relative to its group."""

    name: ClassVar[str] = "edge_grpo"
    paper: ClassVar[str] = "EDGE-GRPO, arXiv 2507.21848 (second-hand)"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})

    power: float = 1.0
    """Of the relative entropy that the advantage is divided by; 0 changes nothing."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.power < math.inf:
            raise ValueError(f"power must be 0 or positive, got {self.power}")

    @classmethod
    def neutral(cls) -> "EdgeGRPO":
        return cls(power=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_entropy", "whole_groups"})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        assert rollouts.old_entropy is not None
        entropy = _mean_entropy(rollouts.old_entropy, rollouts.mask)
        counted = rollouts.mask.any(1)
        factor = (_group_mean(entropy, counted, rollouts.group) / entropy) ** self.power
        factor = fill(factor, counted, 1.0).to(advantage.dtype)
        metrics = {
            "factor": Mean(fill(factor, counted).sum(), counted.sum()),
            "entropy": Mean(fill(entropy, counted).sum(), counted.sum()),
        }
        return advantage * factor.unsqueeze(1), metrics


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
