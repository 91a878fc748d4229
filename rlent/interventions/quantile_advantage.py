"""Advantages measured from a quantile of the group's rewards, not from their mean.

Wu et al., "Quantile Advantage Estimation: Stabilizing RLVR for LLM Reasoning" (QAE), arXiv 2509.22611::

    A_i = (R_i - Q_K) / (std + 1e-4)          Q_K = min{ r : at least K of the group's rewards are <= r }

For rewards 0 and 1 and a share ``p`` of correct completions this is a gate: where ``p <= 1 - K`` the baseline is 0 and
only the rare correct ones are learnt from, elsewhere it is 1 and only the remaining wrong ones are. All others have
advantage 0.

Only the abstract was read, whose gate fixes the quantile (the smallest reward that the share ``K`` does not exceed).
The division by the group's deviation is GRPO's and DAPO's, of which the paper says that it replaces the mean; ``K`` 0.4
is second-hand. No released code was found. Recipe::

    interventions:
      - quantile_advantage: {quantile: 0.4}
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.advantages import EPSILON
from rlent.interventions.groups import rows_of_groups
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import share_count
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class QuantileAdvantage(Intervention):
    """Replace advantages by the distance from a quantile of the group's rewards.

    Completions that could not be scored are not counted and have advantage 0.
    """

    name: ClassVar[str] = "quantile_advantage"
    paper: ClassVar[str] = "QAE, arXiv 2509.22611 (abstract)"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    quantile: float | None = 0.4
    """K in (0, 1); null leaves advantages as they are. Unverified."""
    scale: Literal["group", "none"] = "group"
    """Divide by the unbiased deviation of the group's rewards, or not at all."""

    def __post_init__(self) -> None:
        if self.quantile is not None and not 0.0 < self.quantile < 1.0:
            raise ValueError(f"quantile must be in (0, 1), got {self.quantile}")

    @classmethod
    def neutral(cls) -> "QuantileAdvantage":
        return cls(quantile=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"whole_groups"})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        kept = rollouts.mask.any(1) & ~rollouts.reward.isnan()
        new = advantage.new_zeros(len(kept))
        if self.quantile is not None:
            for rows in rows_of_groups(rollouts.group):
                scored = [row for row in rows if kept[row]]
                if scored:
                    rewards = rollouts.reward[scored]
                    new[scored] = self._advantages(rewards, self.quantile).to(new.dtype)
            advantage = new.unsqueeze(1).expand_as(advantage)
        return advantage, {
            "positive": Mean(((advantage > 0).any(1) & kept).sum(), kept.sum()),
            "negative": Mean(((advantage < 0).any(1) & kept).sum(), kept.sum()),
        }

    def _advantages(self, rewards: Float[Tensor, " g"], quantile: float) -> Float[Tensor, " g"]:
        at = share_count(quantile, torch.tensor(len(rewards))) - 1
        centred = rewards - rewards.sort().values[at]
        if self.scale == "none":
            return centred
        variance = (rewards - rewards.mean()).square().sum() / max(len(rewards) - 1, 1)
        return centred / (variance.sqrt() + EPSILON)
