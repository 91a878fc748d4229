"""The geometric mean of clipped ratios.

Zhao et al., "Geometric-Mean Policy Optimization", arXiv 2507.20673::

    loss_i = -A_i exp( mean_t c_t )        c_t = min(l_t, high) where A > 0, max(l_t, low) where A < 0

with ``l_t = logp_t - old_logp_t`` and bounds on ``l_t``, that is in log space. Tokens that are clipped send no
gradient; all others of the sequence share the factor ``exp(mean c) / |o_i|``. Checked against verl's ``geo_mean``
(``rlent conformance``) and read in TRL's experimental trainer, not in the paper; both have a width of 0.4.

Every token has the sequence's value and its own part of the gradient, so that tokens which are left out send none; the
mean is over all tokens of the sequence, also those. The paper averages over sequences (``loss_type: grpo``).
Interventions that move the bounds move those on the ratio, ``exp(low)`` and ``exp(high)``. Recipe::

    trainer: {loss_type: grpo, surrogate: {gmpo: {epsilon: 0.4}}}
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from rlent.numerics import fill, safe_ratio, unit
from rlent.surrogates.contract import CLIP, PerToken, Sides, Surrogate, ratio_exponent, sides_at
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class GMPO(Surrogate):
    """Take the geometric mean of a sequence's clipped ratios: ``-A exp(mean_t clip(log r_t))``."""

    name: ClassVar[str] = "gmpo"
    paper: ClassVar[str] = "Geometric-Mean Policy Optimization, arXiv 2507.20673"
    reads: ClassVar[frozenset[str]] = CLIP

    epsilon: float = 0.4
    """Log-ratios with ``A < 0`` are clipped at minus this."""
    epsilon_high: float | None = None
    """Log-ratios with ``A > 0`` are clipped at this; null is ``epsilon``."""

    def __post_init__(self) -> None:
        for name in ("epsilon", "epsilon_high"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")

    def bounds(self, epsilon: float, epsilon_high: float | None) -> tuple[float, float]:
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        return math.exp(-self.epsilon), math.exp(high)

    def clipped(self, tokens: Tokens, signal: Signal) -> Sides:
        return sides_at(tokens, signal, "token")

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        exponent = ratio_exponent(tokens, "token")
        below, above = self.clipped(tokens, signal)
        bound = torch.where(below, signal.clip_low, signal.clip_high).log()
        clipped = torch.where(below | above, bound, exponent)
        count = tokens.mask.sum(-1, keepdim=True).clamp(min=1)
        mean = fill(clipped, tokens.mask).sum(-1, keepdim=True) / count
        return fill(-signal.advantage * safe_ratio(mean) * unit(clipped), tokens.mask)
