"""Less weight on the tokens whose update would change entropy most.

"Rethinking Entropy Interventions in RLVR: An Entropy Change Perspective" (STEER), arXiv 2510.10150. To first order one
step changes the entropy of the policy at token ``t`` in proportion to::

    Omega_t = I_t r_t A_t pi_t (1 - pi_t) (log pi_t + H_t)            I_t = 0 where PPO clips the token, 1 elsewhere
    w_t     = exp( log(w_min) |Omega_t| / max |Omega| )                                                w_min 0.7

so the token with the largest change has weight ``w_min`` and one without any has 1. The maximum is over the tokens of
the micro-batch that are not clipped; ``H_t`` is the entropy at generation (nats), ``pi_t`` the current probability, and
no gradient flows through the weight. It multiplies the clipped surrogate, and the denominator counts all tokens.

Of the paper, second-hand accounts were read that agree with each other. The released code (``rlent conformance``) is
``as_released``, and differs in four things:

* It lacks one factor ``pi_t``, so that unlikely tokens lose far more weight than by the equation.
* It has no ``I_t``: clipped tokens set the maximum too, and are weighted.
* Its maximum is at least 0.02 (exponential weights only).
* Its scripts have ``w_min`` 0.8; 0.7 is the paper's fourth version, second-hand.

``shape: linear`` is in the released code alone: ``w_max - (|Omega_t| - min) / (max - min) (w_max - w_min)``, with
0.8 and 1.2 in its script, and their mean where all tokens are equal. Recipe::

    interventions:
      - steer: {min_weight: 0.7}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.ratios import clipped_tokens, token_ratio
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens

_TINY = 1e-30
_RELEASED_FLOOR = 0.02
"""Smallest maximum of ``|Omega|`` in the released exponential weights."""


@dataclass(frozen=True, kw_only=True)
class Steer(Intervention):
    """Weight every token by how much its update would change entropy: from 1 down to ``min_weight``."""

    name: ClassVar[str] = "steer"
    paper: ClassVar[str] = "STEER, arXiv 2510.10150"
    writes: ClassVar[frozenset[str]] = frozenset({"weight"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage", "clip_low", "clip_high"})

    min_weight: float = 0.7
    """Weight of the token with the largest entropy change, in (0, 1]."""
    shape: Literal["exponential", "linear"] = "exponential"
    """How the weight falls with the entropy change."""
    max_weight: float = 1.0
    """Weight of the token with the smallest entropy change; read by ``shape: linear``."""
    as_released: bool = False
    """The released entropy change: one factor of the probability less, clipped tokens included, and a floor."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_weight <= 1.0:
            raise ValueError(f"min_weight must be in (0, 1], got {self.min_weight}")
        if not self.min_weight <= self.max_weight < math.inf:
            raise ValueError(f"max_weight must be at least min_weight, got {self.max_weight}")
        if self.shape == "exponential" and self.max_weight != 1.0:
            raise ValueError(
                "max_weight belongs to shape: linear, but shape: exponential is set; remove one of the two"
            )

    @classmethod
    def neutral(cls) -> "Steer":
        return cls(min_weight=1.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_entropy"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        active = tokens.mask if self.as_released else tokens.mask & ~clipped_tokens(tokens, signal)
        change = fill(self._entropy_change(tokens, signal), active)
        factor = fill(self._weights(change, active), active, 1.0)
        metrics = {
            "weight": Mean(fill(factor, tokens.mask).sum(), tokens.mask.sum()),
            "entropy_change": Mean(change.sum(), active.sum()),
        }
        return replace(signal, weight=signal.weight * factor), metrics

    def _entropy_change(self, tokens: Tokens, signal: Signal) -> Float[Tensor, "b t"]:
        """``|Omega|`` but for the clip indicator."""
        assert tokens.old_entropy is not None
        logp = fill(tokens.logp.detach(), tokens.mask)
        entropy = fill(tokens.old_entropy, tokens.mask)
        probability = logp.exp()
        change = (1 - probability) * (logp + entropy) * fill(signal.advantage, tokens.mask)
        change = change if self.as_released else change * probability
        return (token_ratio(tokens) * change).abs()

    def _weights(
        self, change: Float[Tensor, "b t"], active: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t"]:
        if not active.any():
            return change + 1
        most, least = change[active].max(), change[active].min()
        if self.shape == "exponential":
            # A maximum of 0 is met by no token, so any positive one gives the same weights.
            floor = _RELEASED_FLOOR if self.as_released else _TINY
            return (math.log(self.min_weight) * change / most.clamp(min=floor)).exp()
        if most == least:
            return change.new_full(change.shape, (self.min_weight + self.max_weight) / 2)
        spread = self.max_weight - self.min_weight
        return self.max_weight - (change - least) / (most - least) * spread
