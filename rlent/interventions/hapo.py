"""Bounds and advantages that follow a token's entropy continuously, from sure to unsure.

Liu et al., "From Uniform to Heterogeneous: Tailoring Policy Optimization to Every Token's Nature" (HAPO), arXiv
2509.16591. With ``h_t = log H_t - q``, ``q`` the 0.8 quantile of the log-entropies and both sides scaled to 1::

    s_t        =  h_t / max h    where h_t > 0        -h_t / min h    elsewhere               in [-1, 1]
    clip_low   =  1 - eps (1 - alpha s_t)  where s_t <= 0       clip_high  =  1 + eps (1 + alpha s_t)  where s_t > 0
    A_t       <-  A_t (1 + beta s_t)       where s_t > 0 and the ratio has left the middle half of its bounds,
                                           or s_t <= 0 and it has not

so a token that the policy is sure of may be made much less likely, one that it is unsure of much more likely. The
middle half is ``1 - (1 - clip_low) / 2 < ratio < 1 + (clip_high - 1) / 2``. Entropies are the current policy's (nats,
at least 1e-8), those of one micro-batch as in the released code; no gradient flows through them. The quantile is the
nearest order statistic.

Abstract and released code were read; the paper's equations were not.

* ``as_released`` is a sign lost: the code divides negative ``h`` by the negative ``min h``, so that its ``s_t`` is
  positive on both sides, and sure tokens get the wider upper bound and the larger advantage that the abstract promises
  to unsure ones.
* Not part of this: the advantage averaged over tokens (``hapo_advantage``), and a temperature that follows entropy
  while sampling.
* The released runs have 0.2 on both sides and a dual clip at 10 (``trainer.delta``).

Recipe::

    interventions:
      - hapo_advantage
      - hapo
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill, log_ratio, safe_ratio
from rlent.types import Signal, Tokens

_FLOOR = 1e-8
"""Nats, and smallest extreme that a side is scaled by."""


@dataclass(frozen=True, kw_only=True)
class HAPO(Intervention):
    """Widen the bounds and change the advantage by how far a token's log-entropy is from a quantile."""

    name: ClassVar[str] = "hapo"
    paper: ClassVar[str] = "HAPO, arXiv 2509.16591"
    writes: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high", "advantage"})

    pivot: float = 0.8
    """Quantile of the log-entropies where a token is neither sure nor unsure, in [0, 1]."""
    clip: float = 1.0
    """By how much of itself the distance of a bound from 1 grows at the extreme entropy (alpha); 0 leaves bounds."""
    advantage: float = 1.0
    """By how much of itself the advantage changes at the extreme entropy (beta); 0 leaves advantages."""
    as_released: bool = False
    """The released code, whose ``s_t`` is never negative."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.pivot <= 1.0:
            raise ValueError(f"pivot must be in [0, 1], got {self.pivot}")
        for name in ("clip", "advantage"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")

    @classmethod
    def neutral(cls) -> "HAPO":
        return cls(clip=0.0, advantage=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy"} | ({"several_updates"} if self.clip > 0 else set()))

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        scaled, middle = scaled_entropy(tokens.entropy.detach(), tokens.mask, self.pivot)
        if self.as_released:
            scaled = scaled.abs()
        unsure, total = scaled > 0, tokens.mask.sum()
        signal = self._bounded(signal, scaled)
        advantage = torch.where(
            unsure ^ _in_the_middle(tokens, signal),
            signal.advantage * (1 + self.advantage * scaled),
            signal.advantage,
        )
        changed = fill(advantage - signal.advantage, tokens.mask)
        return replace(signal, advantage=advantage), {
            "unsure": Mean((unsure & tokens.mask).sum(), total),
            "pivot": Mean(middle * total, total),
            "advantage_change": Mean(changed.abs().sum(), total),
        }

    def _bounded(self, signal: Signal, scaled: Float[Tensor, "b t"]) -> Signal:
        below, above = scaled.clamp(max=0), scaled.clamp(min=0)
        return replace(
            signal,
            clip_low=signal.clip_low + self.clip * below * (1 - signal.clip_low),
            clip_high=signal.clip_high + self.clip * above * (signal.clip_high - 1),
        )


def scaled_entropy(
    entropy: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"], pivot: float
) -> tuple[Float[Tensor, "b t"], Float[Tensor, ""]]:
    """The distance of each log-entropy from their quantile, each side scaled to 1, and the quantile's entropy (nats).

    0 at masked positions; the entropy is 0 where there are no tokens.
    """
    logs = fill(entropy, mask, 1.0).clamp(min=_FLOOR).log()
    ordered = logs[mask].sort().values
    if not len(ordered):
        return torch.zeros_like(logs), logs.new_zeros(())
    middle = ordered[round(pivot * (len(ordered) - 1))]
    distance = fill(logs - middle, mask)
    deviation = (distance.square().sum() / len(ordered)).clamp(min=_FLOOR).sqrt()
    distance = distance / deviation
    above, below = distance.max().clamp(min=_FLOOR), (-distance.min()).clamp(min=_FLOOR)
    return torch.where(distance > 0, distance / above, distance / below), middle.exp()


def _in_the_middle(tokens: Tokens, signal: Signal) -> Bool[Tensor, "b t"]:
    """The ratio is nearer to 1 than to the bound on its side."""
    ratio = safe_ratio(log_ratio(tokens.logp, tokens.old_logp, tokens.mask))
    low, high = (1 + signal.clip_low) / 2, (1 + signal.clip_high) / 2
    return (low < ratio) & (ratio < high)
