"""Entropy on a schedule: only correct completions while it is too high, only wrong ones while it is too low.

Li et al., "Addressing Performance Saturation for LLM RL via Precise Entropy Curve Control" (Entrocraft), arXiv
2604.26326. With ``H`` the mean entropy of the generation batch (nats), at each update one of::

    H > upper      A = 1 on correct completions, 0 on wrong ones        (RAFT++: concentrates)
    H < lower      A = 0 on correct completions, -1 on wrong ones       (NSR: spreads)
    otherwise      the advantages as they are                           (GRPO)

    lower, upper   from their first to their second value over ``steps`` updates, linearly or along a half cosine

Read in the released code, whose rewards are 1 and -1 and whose rule this is; the paper was not read. The released
linear runs have (0.6, 0.4) and (0.7, 0.5), those along a cosine (0.6, 0.1) and (0.7, 0.2). Its entropy is that of all
tokens under the generating policy, as here. After ``steps`` updates the bounds stay. Recipe::

    interventions:
      - entrocraft: {lower: [0.6, 0.4], upper: [0.7, 0.5], steps: 100}
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class Entrocraft(Intervention):
    """Learn from correct completions, wrong ones or both, by where the batch's entropy is."""

    name: ClassVar[str] = "entrocraft"
    paper: ClassVar[str] = "Entrocraft, arXiv 2604.26326"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    lower: tuple[float, float] | None = (0.6, 0.4)
    """Entropy below which only wrong completions are learnt from, at the first and the last step; null is none."""
    upper: tuple[float, float] | None = (0.7, 0.5)
    """Entropy above which only correct completions are learnt from, at the first and the last step; null is none."""
    steps: int = 100
    """Optimiser steps from the first to the last bound; ``trainer.max_steps`` in the released runs."""
    shape: Literal["linear", "cosine"] = "linear"
    """How the bounds move."""
    correct: float = 0.5
    """A completion with a reward above this is correct."""
    reward: str | None = None
    """Name of the listed reward that says what is correct; null is the whole reward."""

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            bounds = getattr(self, name)
            if bounds is not None and not all(0.0 <= bound < math.inf for bound in bounds):
                raise ValueError(f"{name} must not be negative, got {bounds}")
        pairs = zip(self.lower, self.upper, strict=True) if self.lower and self.upper else ()
        if not all(lower <= upper for lower, upper in pairs):
            raise ValueError(f"lower {self.lower} must not be above upper {self.upper}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    @classmethod
    def neutral(cls) -> "Entrocraft":
        return cls(lower=None, upper=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_entropy"})

    @property
    def named_rewards(self) -> frozenset[str]:
        return frozenset() if self.reward is None else frozenset({self.reward})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """A completion that could not be scored has advantage 0 outside the bounds."""
        assert rollouts.old_entropy is not None
        total = fill(rollouts.old_entropy, rollouts.mask).double().sum()
        count = rollouts.mask.sum()
        tokens = float(rollouts.reduce.sum(count))
        entropy = float(rollouts.reduce.sum(total)) / max(tokens, 1.0)
        lower, upper = self.bound(self.lower, rollouts.step), self.bound(self.upper, rollouts.step)
        high = tokens > 0 and upper is not None and entropy > upper
        low = tokens > 0 and lower is not None and entropy < lower
        reward = rollouts.named_reward(self.reward).unsqueeze(1).expand_as(advantage)
        one = torch.ones_like(advantage)
        if high:
            advantage = torch.where(reward > self.correct, one, 0.0)
        elif low:
            advantage = torch.where(reward <= self.correct, -one, 0.0)
        return advantage, {
            "entropy": Mean(total, count),
            "correct_only": float(high),
            "wrong_only": float(low),
        }

    def bound(self, ends: tuple[float, float] | None, step: int) -> float | None:
        """The bound at an optimiser step, nats."""
        if ends is None:
            return None
        progress = min(step / self.steps, 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return ends[0] + (ends[1] - ends[0]) * progress
