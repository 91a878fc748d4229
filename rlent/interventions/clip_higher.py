"""A wider upper clip bound, so that unlikely tokens can become likely.

Yu et al., "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", arXiv 2503.14476, Sec. 3.1 and Eq. 10::

    min(r_t A_t, clip(r_t, 1 - epsilon_low, 1 + epsilon_high) A_t)        epsilon_low 0.2, epsilon_high 0.28

The same bounds can be written as ``trainer.epsilon`` and ``trainer.epsilon_high``; here they are a line in a list of
ideas, before others that move bounds. Recipe::

    interventions:
      - clip_higher
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class ClipHigher(Intervention):
    """Bound the ratio by ``[1 - epsilon_low, 1 + epsilon_high]``."""

    name: ClassVar[str] = "clip_higher"
    paper: ClassVar[str] = "DAPO, arXiv 2503.14476"
    writes: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})

    epsilon_low: float | None = 0.2
    """Distance of the lower bound from 1, in [0, 1]; null leaves it where it is."""
    epsilon_high: float | None = 0.28
    """Distance of the upper bound from 1; null leaves it where it is."""

    def __post_init__(self) -> None:
        if self.epsilon_low is not None and not 0 <= self.epsilon_low <= 1:
            raise ValueError(f"epsilon_low must be in [0, 1], got {self.epsilon_low}")
        if self.epsilon_high is not None and self.epsilon_high < 0:
            raise ValueError(f"epsilon_high must not be negative, got {self.epsilon_high}")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"several_updates"})

    @classmethod
    def neutral(cls) -> "ClipHigher":
        return cls(epsilon_low=None, epsilon_high=None)

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        low, high = signal.clip_low, signal.clip_high
        if self.epsilon_low is not None:
            low = torch.full_like(low, 1 - self.epsilon_low)
        if self.epsilon_high is not None:
            high = torch.full_like(high, 1 + self.epsilon_high)
        moved = replace(signal, clip_low=low, clip_high=high)
        count = tokens.mask.sum()
        return moved, {
            "low": Mean(low.masked_fill(~tokens.mask, 0).sum(), count),
            "high": Mean(high.masked_fill(~tokens.mask, 0).sum(), count),
        }
