"""Advantages under which k completions are one attempt: what raises the chance that any of them is correct.

Chen et al., "Pass@k Training for Adaptively Balancing Exploration and Exploitation of Large Reasoning Models", arXiv
2508.10751 (analytical derivation). Of a prompt's ``N`` completions ``M`` are wrong. Of all their k-subsets, rewarded 1
if they hold a correct completion::

    mean   =  1 - C(M, k) / C(N, k)                  deviation = sqrt(mean (1 - mean))
    A_pos  =  (1 - mean) / deviation                 for correct completions
    A_neg  =  (1 - mean - C(M-1, k-1) / C(N-1, k-1)) / deviation          for wrong ones

each the mean, over the k-subsets that a completion is in, of ``(reward of the subset - mean) / deviation``. With ``k``
1 this is GRPO with the biased deviation. The larger ``k``, the less is learnt from prompts that are often solved: with
fewer than ``k`` wrong completions every subset succeeds, and all advantages are 0.

The formulas are those of the front page and of the released function, which adds 1e-6 to the deviation; the paper was
not read. A completion is correct above ``correct``, where the released code asks for a reward of exactly 1. Completions
that could not be scored are not counted and have advantage 0, as have all of a prompt with fewer than ``k`` scored
ones. Recipe::

    interventions:
      - passk_advantage: {k: 4}
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.interventions.groups import rows_of_groups
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class PassKAdvantage(Intervention):
    """Replace advantages by those of the best of ``k`` completions."""

    name: ClassVar[str] = "passk_advantage"
    paper: ClassVar[str] = "Pass@k Training, arXiv 2508.10751"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    k: int | None = 4
    """Completions that are one attempt, at most ``trainer.num_generations``; null leaves advantages as they are. The
    paper's choice was not read."""
    correct: float = 0.5
    """A completion with a reward above this is correct."""
    reward: str | None = None
    """Name of the listed reward that says what is correct; null is the whole reward."""

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    @classmethod
    def neutral(cls) -> "PassKAdvantage":
        return cls(k=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"whole_groups"})

    @property
    def smallest_group(self) -> int:
        return self.k or 1

    @property
    def named_rewards(self) -> frozenset[str]:
        return frozenset() if self.reward is None else frozenset({self.reward})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        reward = rollouts.named_reward(self.reward)
        kept = rollouts.mask.any(1) & ~reward.isnan()
        right = (reward > self.correct) & kept
        new = advantage.new_zeros(len(kept))
        groups, passes = rows_of_groups(rollouts.group), 0.0
        for rows in groups:
            scored, wins = int(kept[rows].sum()), int(right[rows].sum())
            k = min(self.k or 1, max(scored, 1))
            passes += pass_rate(scored, wins, k)
            if self.k is not None and scored >= self.k:
                positive, negative = passk_advantages(scored, wins, self.k)
                pair = new.new_tensor([negative, positive])
                new[rows] = pair[right[rows].long()]
        new = torch.where(kept, new, 0.0).unsqueeze(1)
        metrics = {"pass": Mean(passes, len(groups)), "correct": Mean(right.sum(), kept.sum())}
        return advantage if self.k is None else new.expand_as(advantage), metrics


def pass_rate(completions: int, correct: int, k: int) -> float:
    """Share of the k-subsets with a correct completion in them; 0 where there is none."""
    if completions < k:
        return 0.0
    return 1 - math.comb(completions - correct, k) / math.comb(completions, k)


def passk_advantages(completions: int, correct: int, k: int) -> tuple[float, float]:
    """The advantage of a correct completion, and that of a wrong one; 0 where all subsets have the same reward."""
    mean = pass_rate(completions, correct, k)
    deviation = math.sqrt(mean * (1 - mean))
    if deviation == 0.0:
        return 0.0, 0.0
    wrong = completions - correct
    beside_wrong = math.comb(wrong - 1, k - 1) / math.comb(completions - 1, k - 1)
    return (1 - mean) / deviation, (1 - mean - beside_wrong) / deviation
