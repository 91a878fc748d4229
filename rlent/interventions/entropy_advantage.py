"""A bonus on the advantage of tokens of high entropy, bounded so that no advantage changes its sign.

Cheng et al., "Reasoning with Exploration: An Entropy Perspective", arXiv 2506.14758::

    A_t  <-  A_t + min( alpha sg(H_t), |A_t| / kappa )                                alpha 0.4, kappa 2

with ``H_t`` the entropy under the current policy (nats). Unlike an entropy bonus it sends no gradient through ``H_t``:
it only lets tokens at which the policy is unsure learn more from good completions and unlearn less from bad ones. A
completion with advantage 0 keeps it.

Nothing official has been released. The formula and ``alpha`` were checked against a third party's implementation
(``rlent conformance``), which has ``kappa`` 1, so that a negative advantage can become 0; ``kappa`` 2 is the paper's by
second-hand accounts and was not verified. Recipe::

    interventions:
      - entropy_advantage: {alpha: 0.4, kappa: 2.0}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class EntropyAdvantage(Intervention):
    """Add ``min(alpha * entropy, |advantage| / kappa)`` to the advantage of every token."""

    name: ClassVar[str] = "entropy_advantage"
    paper: ClassVar[str] = "Reasoning with Exploration, arXiv 2506.14758"
    writes: ClassVar[frozenset[str]] = frozenset({"advantage"})

    alpha: float = 0.4
    """Advantage per nat of entropy."""
    kappa: float = 2.0
    """The bonus is at most the advantage's magnitude over this, at least 1. Unverified."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be 0 or positive, got {self.alpha}")
        if not self.kappa >= 1.0:
            raise ValueError(f"kappa must be at least 1, got {self.kappa}")

    @classmethod
    def neutral(cls) -> "EntropyAdvantage":
        return cls(alpha=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        advantage = fill(signal.advantage, tokens.mask)
        bound = advantage.abs() / self.kappa
        wanted = self.alpha * fill(tokens.entropy.detach(), tokens.mask)
        bonus = torch.minimum(wanted, bound)
        total = tokens.mask.sum()
        return replace(signal, advantage=signal.advantage + bonus), {
            "bonus": Mean(bonus.sum(), total),
            "bounded": Mean((tokens.mask & (wanted > bound)).sum(), total),
        }
