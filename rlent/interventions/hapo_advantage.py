"""Advantages measured from the mean over a group's tokens, not over its completions.

Liu et al., "From Uniform to Heterogeneous: Tailoring Policy Optimization to Every Token's Nature" (HAPO, token-level
group average), arXiv 2509.16591::

    A_i = (R_i - mean) / (std + 1e-6)          mean and std of R over all tokens of the prompt's completions

where each token carries its completion's reward, so that the advantages of a group's tokens sum to 0 whatever the
lengths. The deviation is the biased one. Where an advantage of a group reaches 5, as it may if a long and a short
completion differ, the whole group keeps the advantages that it had.

The abstract and the released code were read (``rlent conformance``), and not the paper's equations; the code's
advantages outside the completions are not reproduced. Completions that could not be scored have advantage 0, unless
their group keeps what it had. Recipe::

    interventions:
      - hapo_advantage
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts

_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class HAPOAdvantage(Intervention):
    """Replace advantages by those around the token-weighted mean reward of the group."""

    name: ClassVar[str] = "hapo_advantage"
    paper: ClassVar[str] = "HAPO, arXiv 2509.16591"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    scale: Literal["group", "none"] = "group"
    """Divide by the deviation over the group's tokens, or not at all."""
    limit: float = 5.0
    """A group keeps its advantages where the magnitude of a new one is at least this; 0 keeps all."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.limit < math.inf:
            raise ValueError(f"limit must be 0 or positive, got {self.limit}")

    @classmethod
    def neutral(cls) -> "HAPOAdvantage":
        return cls(limit=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"whole_groups"})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        scored = rollouts.mask.any(1) & ~rollouts.reward.isnan()
        numbers, row = rollouts.group.unique(return_inverse=True)
        tokens = fill(rollouts.mask.sum(1).double(), scored)
        reward = fill(rollouts.reward.double(), scored)
        count = _totals(tokens, row, len(numbers)).clamp(min=1)
        centred = fill(reward - (_totals(reward * tokens, row, len(numbers)) / count)[row], scored)
        if self.scale == "group":
            variance = _totals(centred.square() * tokens, row, len(numbers)) / count
            centred = centred / (variance.sqrt()[row] + _EPSILON)
        largest = torch.zeros_like(count).scatter_reduce(0, row, centred.abs(), "amax")
        kept = (largest >= self.limit)[row]
        new = centred.to(advantage.dtype).unsqueeze(1)
        after = torch.where(kept.unsqueeze(1), advantage, new.expand_as(advantage))
        return after, {
            "kept": Mean(kept.sum(), len(kept)),
            "largest": Mean(largest.sum(), len(numbers)),
        }


def _totals(
    values: Float64[Tensor, " n"], row: Int[Tensor, " n"], groups: int
) -> Float64[Tensor, " g"]:
    """Sum over each group."""
    return values.new_zeros(groups).index_add(0, row, values)
