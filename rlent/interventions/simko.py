"""Credit for a correct token shared with its likeliest rivals, at uncertain positions; more blame for a sure mistake.

"SimKO: Simple Pass@K Policy Optimization", arXiv 2510.14807. At tokens whose entropy is above the tau-quantile of their
completion::

    correct:  grad J_t = r_t A_t grad( (1 - alpha) log pi_t + alpha / K sum_{k <= K} log pi_(k) )
    wrong:    A_t * boost   where the sampled token is the most probable one

with ``pi_(k)`` the K most probable tokens under the current policy. The value of the loss is that of PPO: only the
gradient is shared, and a clipped token sends none.

Per token, with ``m`` the mean over the K tokens of their log-probability, ``sg`` a constant and ``F`` the slope
``r A w`` of a token that learns and is not clipped, 0 elsewhere, the shared part is the penalty::

    penalty_t = -alpha sg(F_t) (x_t - sg(x_t)),   x_t = m_t - log pi_t

It is averaged like the policy term as long as nobody before it changes which tokens that term counts. The slope is that
of PPO's surrogate with one ratio for each token.

The formula and the defaults are those of the released code (``rlent conformance``), which hard-codes ``boost`` and has
no dual clip; its paper was not read. A completion is correct where its reward is above ``correct``. Recipe::

    interventions:
      - simko: {mix: 0.01, top_k: 3}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions.ratios import clipped_tokens, token_ratio
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill, row_quantile
from rlent.types import Signal, Tokens

_IS_TOP1 = Statistic("is_top1")


@dataclass(frozen=True, kw_only=True)
class SimKO(Intervention):
    """Share the gradient of correct tokens with the most probable ones; weigh the most probable wrong ones more."""

    name: ClassVar[str] = "simko"
    paper: ClassVar[str] = "SimKO, arXiv 2510.14807"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty", "weight"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage", "select", "clip_low", "clip_high"})

    mix: float = 0.01
    """Share of the gradient that goes to the most probable tokens, in [0, 1] (alpha)."""
    top_k: int = 3
    """The most probable tokens that share it (K)."""
    boost: float = 1.1
    """Factor of the policy term of wrong tokens that are the most probable."""
    quantile: float = 0.8
    """Tokens above this quantile of their completion's entropies are changed, in [0, 1) (tau)."""
    correct: float = 0.5
    """A completion is correct where its reward is above this."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.mix <= 1.0:
            raise ValueError(f"mix must be in [0, 1], got {self.mix}")
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if not 0.0 <= self.boost < math.inf:
            raise ValueError(f"boost must be 0 or positive, got {self.boost}")
        if not 0.0 <= self.quantile < 1.0:
            raise ValueError(f"quantile must be in [0, 1), got {self.quantile}")

    @classmethod
    def neutral(cls) -> "SimKO":
        return cls(mix=0.0, boost=1.0)

    @property
    def top(self) -> Statistic:
        """Mean log-probability of the most probable tokens."""
        return Statistic("mean_top_log_prob", self.top_k)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy", "statistics", "token_clipping"})

    @property
    def statistics(self) -> frozenset[Statistic]:
        return frozenset({self.top, _IS_TOP1})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        mask = tokens.mask
        right = (tokens.reward > self.correct).unsqueeze(1)
        wrong = (tokens.reward <= self.correct).unsqueeze(1)
        uncertain = self._uncertain(tokens)
        shared = uncertain & right
        boosted = uncertain & wrong & tokens.statistics[_IS_TOP1]
        if self.mix != 0.0:
            signal = replace(signal, penalty=signal.penalty + self._penalty(tokens, signal, shared))
        weight = torch.where(boosted, signal.weight * self.boost, signal.weight)
        return replace(signal, weight=weight), {
            "shared": Mean(shared.sum(), mask.sum()),
            "boosted": Mean(boosted.sum(), mask.sum()),
        }

    def _uncertain(self, tokens: Tokens) -> Bool[Tensor, "b t"]:
        entropy = fill(tokens.entropy.detach(), tokens.mask)
        return tokens.mask & (entropy > row_quantile(entropy, tokens.mask, self.quantile))

    def _penalty(self, tokens: Tokens, signal: Signal, shared: Tensor) -> Tensor:
        learns = shared & signal.select & ~clipped_tokens(tokens, signal)
        slope = fill(token_ratio(tokens) * signal.advantage * signal.weight, learns)
        moved = fill(tokens.statistics[self.top], learns) - fill(tokens.logp, learns)
        return -self.mix * slope * (moved - moved.detach())
