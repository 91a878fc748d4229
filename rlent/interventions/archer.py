"""Loose bounds where the policy is unsure, tight bounds and a KL term where it is sure.

Wang et al., "Stabilizing Knowledge, Promoting Reasoning: Dual-Token Constraints for RLVR" (Archer), arXiv 2507.15778::

    q      = the 0.8 quantile of a completion's entropies (current policy, no gradient)
    J_t    = min(r_t A_t, clip(r_t, 1 - eps_t, 1 + eps_t) A_t) - beta_t KL(pi || pi_ref)_t
    eps_t  = 0.2, beta_t = 0.001    where H_t <= q    (low entropy: knowledge)
    eps_t  = 0.5, beta_t = 0        where H_t >  q    (high entropy: reasoning)

The KL term is k3 of the sampled token (``rlent/divergences.py`` says which divergence its gradient descends), with the
log-ratio clamped to +-20.

Checked against the released code (``rlent conformance``); of the paper, only second-hand accounts were read:

* ``as_released`` averages each KL term over its own tokens of the micro-batch, so that with 80% of the tokens ``beta``
  weighs 1.25 times as much as in the equation, which averages over all; and it stops each token's KL at 10, beyond
  which no gradient is left.
* What the released code calls ``high_entropy_mask`` marks the tokens of low entropy; the split is as above.
* Its dual clip at 10 is ``trainer.delta: 10.0``.

Bounds need not be symmetric: ``epsilon_high_entropy: [0.2, 0.5]`` is a pair for those tokens. Recipe::

    interventions:
      - archer: {epsilon_low_entropy: 0.2, epsilon_high_entropy: 0.5, kl_low_entropy: 0.001}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.divergences import k3
from rlent.interventions.entropy_split import (
    Epsilon,
    bounded,
    check_epsilon,
    high_entropy_tokens,
)
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import MAX_LOG_RATIO, log_ratio
from rlent.types import Signal, Tokens

_LARGEST_KL = 10.0
"""Nats, where the released code stops a token's KL."""


@dataclass(frozen=True, kw_only=True)
class Archer(Intervention):
    """Bound the ratio, and tie it to the reference policy, by whether a token's entropy is high in its completion."""

    name: ClassVar[str] = "archer"
    paper: ClassVar[str] = "Archer, arXiv 2507.15778"
    writes: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high", "penalty"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})

    quantile: float = 0.8
    """Quantile of a completion's entropies above which an entropy is high, in [0, 1]."""
    epsilon_low_entropy: Epsilon | None = 0.2
    """Distance of both bounds from 1 at tokens of low entropy, or that of the lower and that of the upper one; null
    leaves them where they are."""
    epsilon_high_entropy: Epsilon | None = 0.5
    """Distance of both bounds from 1 at tokens of high entropy, or that of the lower and that of the upper one; null
    leaves them where they are."""
    kl_low_entropy: float = 0.001
    """Loss per nat of KL divergence at tokens of low entropy."""
    kl_high_entropy: float = 0.0
    """Loss per nat of KL divergence at tokens of high entropy."""
    as_released: bool = False
    """The released code: each KL term averaged over its own tokens of the micro-batch, and stopped at 10 nats."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.quantile <= 1.0:
            raise ValueError(f"quantile must be in [0, 1], got {self.quantile}")
        check_epsilon("epsilon_low_entropy", self.epsilon_low_entropy)
        check_epsilon("epsilon_high_entropy", self.epsilon_high_entropy)
        for name in ("kl_low_entropy", "kl_high_entropy"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")

    @classmethod
    def neutral(cls) -> "Archer":
        return cls(epsilon_low_entropy=None, epsilon_high_entropy=None, kl_low_entropy=0.0)

    @property
    def needs(self) -> frozenset[str]:
        kl = self.kl_low_entropy > 0 or self.kl_high_entropy > 0
        return frozenset({"entropy", "several_updates"} | ({"ref_logp"} if kl else set()))

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        high = high_entropy_tokens(tokens, self.quantile)
        low = tokens.mask & ~high
        metrics: dict[str, Mean] = {"high_entropy": Mean(high.sum(), tokens.mask.sum())}
        signal = bounded(signal, low, self.epsilon_low_entropy)
        signal = bounded(signal, high, self.epsilon_high_entropy)
        for name, chosen, weight in (
            ("kl_low_entropy", low, self.kl_low_entropy),
            ("kl_high_entropy", high, self.kl_high_entropy),
        ):
            if weight > 0:
                divergence = self._divergence(tokens, chosen)
                metrics[name] = Mean(divergence.detach().sum(), chosen.sum())
                share = self._share(chosen, tokens)
                signal = replace(signal, penalty=signal.penalty + weight / share * divergence)
        return signal, metrics

    def _divergence(self, tokens: Tokens, chosen: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        """k3 in nats at chosen tokens, 0 elsewhere."""
        assert tokens.ref_logp is not None
        moved = log_ratio(tokens.ref_logp, tokens.logp, chosen).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        divergence = k3(torch.zeros_like(moved), moved, chosen)
        return divergence.clamp(max=_LARGEST_KL) if self.as_released else divergence

    def _share(self, chosen: Bool[Tensor, "b t"], tokens: Tokens) -> Tensor | float:
        """Of the micro-batch's tokens, where the term is averaged over the chosen ones."""
        if not self.as_released:
            return 1.0
        count = chosen.sum().clamp(min=1).to(tokens.old_logp.dtype)
        return count / tokens.mask.sum().clamp(min=1)
