"""Unlikely tokens of good completions learn more, not less: the ratio of positive tokens is turned around.

Wang et al., "ASPO: Asymmetric Importance Sampling Policy Optimization", arXiv 2510.06062. With ``r = pi / pi_old`` the
gradient of a token is ``-F A grad log pi`` with::

    A > 0:   F = min(1 / r, c)   where r <= 1 + eps,   0 above          PPO has r in place of 1 / r
    A < 0:   F = min(r, c)       where r >= 1 - eps,   0 below
    eps = 0.2 at tokens of low entropy, 0.4 at those of high entropy (above the 0.8 quantile of their completion, under
          the current policy)                                           c = 3 on both sides

The factor is a weight on PPO's surrogate, without gradient, and belongs to a token's own ratio, so
``importance_sampling_level`` must be ``token``. Beyond ``c`` the gradient is held at ``c``, where the dual clip of
``trainer.delta`` would set it to 0: leave ``trainer.delta`` out.

Checked against the released code (``rlent conformance``); of the paper, only second-hand accounts were read:

* Gradients are compared. The released loss value is ``A / r`` on positive tokens and ``c A log pi`` beyond ``c``, on
  another scale; here it is the weighted surrogate.
* The released code raises an error on the integer mask that its own framework passes; the numbers are those under a
  boolean one.
* Its KL term at tokens of low entropy is that of ``archer``: ``archer: {epsilon_low_entropy: null,
  epsilon_high_entropy: null}``.

Bounds need not be symmetric: ``epsilon_high_entropy: [0.2, 0.4]`` is a pair for those tokens. With one update per
generation batch every ratio is 1, so several are needed. Recipe::

    interventions:
      - aspo: {cap: 3.0, epsilon_low_entropy: 0.2, epsilon_high_entropy: 0.4}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rlent.interventions.entropy_split import (
    Epsilon,
    bounded,
    check_epsilon,
    high_entropy_tokens,
)
from rlent.interventions.ratios import token_ratio
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class ASPO(Intervention):
    """Weight positive tokens by the inverse of their ratio, and hold every ratio's weight below a cap."""

    name: ClassVar[str] = "aspo"
    paper: ClassVar[str] = "ASPO, arXiv 2510.06062"
    writes: ClassVar[frozenset[str]] = frozenset({"weight", "clip_low", "clip_high"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage"})

    invert: bool = True
    """Turn the ratio of tokens with a positive advantage around; false is PPO's ratio on both signs."""
    cap: float = 3.0
    """Largest gradient factor of either sign, at least 1."""
    quantile: float = 0.8
    """Quantile of a completion's entropies above which an entropy is high, in [0, 1]."""
    epsilon_low_entropy: Epsilon | None = 0.2
    """Distance of both bounds from 1 at tokens of low entropy, or that of the lower and that of the upper one; null
    leaves them where they are."""
    epsilon_high_entropy: Epsilon | None = 0.4
    """Distance of both bounds from 1 at tokens of high entropy, or that of the lower and that of the upper one; null
    leaves them where they are."""

    def __post_init__(self) -> None:
        if not self.cap >= 1.0:
            raise ValueError(f"cap must be at least 1, got {self.cap}")
        if not 0.0 <= self.quantile <= 1.0:
            raise ValueError(f"quantile must be in [0, 1], got {self.quantile}")
        check_epsilon("epsilon_low_entropy", self.epsilon_low_entropy)
        check_epsilon("epsilon_high_entropy", self.epsilon_high_entropy)

    @classmethod
    def neutral(cls) -> "ASPO":
        return cls(invert=False, cap=math.inf, epsilon_low_entropy=None, epsilon_high_entropy=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy", "several_updates"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        high = high_entropy_tokens(tokens, self.quantile)
        low = tokens.mask & ~high
        signal = bounded(signal, low, self.epsilon_low_entropy)
        signal = bounded(signal, high, self.epsilon_high_entropy)
        ratio = token_ratio(tokens)
        positive = fill(signal.advantage, tokens.mask) > 0
        factor = torch.where(positive, 1 / ratio, ratio) if self.invert else ratio
        capped = factor > self.cap
        weight = signal.weight * factor.clamp(max=self.cap) / ratio
        total = tokens.mask.sum()
        return replace(signal, weight=weight), {
            "capped": Mean((tokens.mask & capped).sum(), total),
            "high_entropy": Mean(high.sum(), total),
        }
