"""One weight for correct completions and another for wrong ones, without a baseline.

Zhu et al., "The Surprising Effectiveness of Negative Reinforcement in LLM Reasoning", arXiv 2506.01347::

    A = lambda on correct completions, -1 on wrong ones                                lambda 0.1

With lambda 1 this is REINFORCE on rewards of +1 and -1. Lowering what is wrong spreads its probability over all other
tokens, so entropy stays; raising what is correct concentrates it. The paper's two halves are settings:

* PSR, positive samples alone:  ``positive: 1.0, negative: 0.0``
* NSR, negative samples alone:  ``positive: 0.0, negative: 1.0``

Groups without variance in the reward learn too. Checked against the released code (``rlent conformance``); the abstract
was read, and the front page, which recommends lambda 0.1. Two differences in training:

* The released PSR and NSR leave the other half of the completions out of the batch, and so out of the loss's
  denominator: ``zero_weight: drop``. By default these have advantage 0 and are counted, as in the formula.
* The code weights rewards of exactly 1 and 0, and leaves others as they are; here ``correct`` is between the two.

Recipe::

    interventions:
      - w_reinforce: {positive: 0.1, negative: 1.0}
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class WReinforce(Intervention):
    """Replace advantages by ``positive`` on correct and ``-negative`` on wrong completions."""

    name: ClassVar[str] = "w_reinforce"
    paper: ClassVar[str] = "Negative Reinforcement, arXiv 2506.01347"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"advantage"})

    positive: float | None = 0.1
    """Advantage of correct completions (lambda); null leaves it as it is."""
    negative: float | None = 1.0
    """Magnitude of the advantage of wrong completions; null leaves it as it is."""
    correct: float = 0.5
    """A completion with a reward above this is correct."""
    reward: str | None = None
    """Name of the listed reward that says what is correct; null is the whole reward."""
    zero_weight: Literal["keep", "drop"] = "keep"
    """Completions whose weight is 0 are counted in the loss's denominator, or given up, as in the released PSR and
    NSR."""

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            weight = getattr(self, name)
            if weight is not None and not 0.0 <= weight < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {weight}")
        if self.zero_weight == "drop" and (self.positive == 0.0) == (self.negative == 0.0):
            raise ValueError(
                "zero_weight: drop needs one of positive and negative to be 0, and the other not: "
                f"got positive: {self.positive}, negative: {self.negative}"
            )

    @classmethod
    def neutral(cls) -> "WReinforce":
        return cls(positive=None, negative=None)

    @property
    def named_rewards(self) -> frozenset[str]:
        return frozenset() if self.reward is None else frozenset({self.reward})

    def build(self) -> object:
        """Stages that give completions up exist only where some are."""
        return self if self.zero_weight == "keep" else _OneHalf(self)

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """A completion that could not be scored keeps the advantage it has, which is 0."""
        reward = rollouts.named_reward(self.reward).unsqueeze(1)
        right, wrong = reward > self.correct, reward <= self.correct
        if self.positive is not None:
            advantage = torch.where(right, self.positive, advantage)
        if self.negative is not None:
            advantage = torch.where(wrong, -self.negative, advantage)
        return advantage, {"correct": Mean(right.sum(), (right | wrong).sum())}


@dataclass(frozen=True, slots=True)
class _OneHalf:
    """The correct or the wrong completions alone."""

    config: WReinforce

    def on_filter(
        self, rollouts: Rollouts, keep: Bool[Tensor, " n"]
    ) -> tuple[Bool[Tensor, " n"], Metrics]:
        """A completion that could not be scored stays, with the advantage that it has."""
        reward, correct = rollouts.named_reward(self.config.reward), self.config.correct
        idle = reward > correct if self.config.positive == 0.0 else reward <= correct
        return keep & ~idle, {"dropped": Mean(idle.sum(), len(idle))}

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        return self.config.on_advantages(rollouts, advantage)
