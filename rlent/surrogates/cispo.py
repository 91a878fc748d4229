"""A clipped importance weight on the log-probability: every token keeps a gradient.

MiniMax, "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention", arXiv 2506.13585, Eq. 4::

    loss_t = -sg(clip(r_t, low, high)) A_t logp_t

The paper writes both bounds and says that it sets none below; two forms are in use, and ``sides`` chooses:

* ``upper`` (MiniMax, TRL): ``min(r, epsilon_high)``. As in TRL the bound is ``epsilon_high`` itself, not ``1 +
  epsilon_high``, and ``epsilon`` where that is not set; TRL recommends 5.0.
* ``both`` (verl): ``clip(r, 1 - epsilon, 1 + epsilon_high)``.

Bounds that an intervention moves are used on both sides, whatever ``sides`` was. ``cispo_clip_ratio`` is TRL's metric:
tokens with ``r`` above the bound and ``A > 0``; ``cispo_clip_ratio_low``, with both sides, those with ``r`` below and
``A < 0``. Recipes::

    trainer: {loss_type: cispo, epsilon_high: 5.0}

    trainer: {loss_type: dapo, surrogate: {cispo: {sides: both}}, epsilon: 0.2, epsilon_high: 0.28}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import torch

from rlent.numerics import fill, safe_ratio
from rlent.surrogates.contract import (
    CLIP,
    Level,
    PerToken,
    Surrogate,
    ratio_exponent,
    sides_at,
)
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class CISPO(Surrogate):
    """Weight the log-probability by the clipped ratio: ``-sg(clip(r)) A logp``."""

    name: ClassVar[str] = "cispo"
    paper: ClassVar[str] = "MiniMax-M1, arXiv 2506.13585"
    reads: ClassVar[frozenset[str]] = CLIP
    trl_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"importance_sampling_level": "level"}
    )

    sides: Literal["upper", "both"] = "upper"
    """Whether the ratio is bounded from above only, by ``epsilon_high`` itself, or on both sides of 1."""
    level: Level = "token"
    """Whose ratio is clipped: a token's, or a sequence's by the geometric or the arithmetic mean."""

    @property
    def ratio_level(self) -> Level:
        return self.level

    def bounds(self, epsilon: float, epsilon_high: float | None) -> tuple[float, float]:
        high = epsilon if epsilon_high is None else epsilon_high
        return (0.0, high) if self.sides == "upper" else (1.0 - epsilon, 1.0 + high)

    def measures(self, tokens: Tokens, signal: Signal) -> dict[str, PerToken]:
        low, high = (side.to(tokens.logp.dtype) for side in sides_at(tokens, signal, self.level))
        above = {"cispo_clip_ratio": high}
        return above if self.sides == "upper" else {**above, "cispo_clip_ratio_low": low}

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        ratio = safe_ratio(ratio_exponent(tokens, self.level))
        clipped = torch.minimum(torch.maximum(ratio, signal.clip_low), signal.clip_high)
        return fill(-clipped * signal.advantage * fill(tokens.logp, tokens.mask), tokens.mask)
