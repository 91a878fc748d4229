"""Smaller advantages for unlikely tokens, whose gradients would drown those of all others.

Yang et al., "Do Not Let Low-Probability Tokens Over-Dominate in RL for LLMs", arXiv 2505.12929::

    A_t  <-  (alpha pi_old(t) + 1 - alpha) A_t                                                     alpha 0.3

The gradient of a softmax grows with ``1 - pi`` of the sampled token, so unlikely tokens dominate the update; here the
least likely keep ``1 - alpha`` of their advantage, and a certain token keeps all.

Checked against the released code (``rlent conformance``), which takes the probability under the generating policy; of
the paper, only second-hand accounts were read. The other half of the paper is ``lopti``. Recipe::

    interventions:
      - advantage_reweighting: {alpha: 0.3}
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class AdvantageReweighting(Intervention):
    """Scale every advantage by ``alpha pi_old + 1 - alpha``."""

    name: ClassVar[str] = "advantage_reweighting"
    paper: ClassVar[str] = "Low-Probability Tokens, arXiv 2505.12929"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})

    alpha: float = 0.3
    """Share of its advantage that a token of probability 0 loses, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")

    @classmethod
    def neutral(cls) -> "AdvantageReweighting":
        return cls(alpha=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_logp"})

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        assert rollouts.old_logp is not None
        probability = fill(rollouts.old_logp, rollouts.mask).exp().to(advantage.dtype)
        factor = self.alpha * probability + (1 - self.alpha)
        metrics = {"factor": Mean(fill(factor, rollouts.mask).sum(), rollouts.mask.sum())}
        return advantage * factor, metrics
