"""No gradient for tokens whose entropy has changed too much since generation: entropy ratio clipping.

Su et al., "Entropy Ratio Clipping as a Soft Global Constraint for Stable Reinforcement Learning" (ERC),
arXiv 2512.05591::

    rho_t = H_t / H_old_t                                   entropies under the current and the generating policy
    J_t   = the surrogate where low < rho_t < high, and no gradient elsewhere          0.95 and 1.05

with both entropies over the full vocabulary at the sampling temperature. It comes on top of another surrogate: GRPO's,
or GPPO's (``clip_preserve: {keep_low: 1.0, keep_high: 1.0}``). The denominator counts all tokens. No gradient flows
through the entropies.

The released loss function was read and is agreed with (``rlent conformance``); of the paper, the abstract was read:

* ``1e-8`` is added above and below, as released, so two entropies of 0 have the ratio 1.
* The released code keeps the loss value of the tokens outside and takes their gradient alone; here they are not
  selected and add nothing to the value either, so gradients agree and the logged loss does not.
* Its truncated importance sampling between engine and trainer is ``trainer.vllm_importance_sampling_correction``.

With one update per generation batch every ratio is 1, so several are needed. Recipe::

    interventions:
      - erc: {low: 0.95, high: 1.05}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens

_FLOOR = 1e-8
"""Nats, added to both entropies."""


@dataclass(frozen=True, kw_only=True)
class ERC(Intervention):
    """Keep the policy gradient of tokens whose entropy ratio to the generating policy lies in a band."""

    name: ClassVar[str] = "erc"
    paper: ClassVar[str] = "Entropy Ratio Clipping, arXiv 2512.05591"
    writes: ClassVar[frozenset[str]] = frozenset({"select"})

    low: float = 0.95
    """Entropy ratio above which a token learns, in [0, 1)."""
    high: float = 1.05
    """Entropy ratio below which a token learns, above 1."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < 1.0:
            raise ValueError(f"low must be in [0, 1), got {self.low}")
        if not self.high > 1.0:
            raise ValueError(f"high must be above 1, got {self.high}")

    @classmethod
    def neutral(cls) -> "ERC":
        return cls(low=0.0, high=math.inf)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy", "old_entropy", "several_updates"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        ratio = _entropy_ratio(tokens)
        above, below = ratio >= self.high, ratio <= self.low
        total = tokens.mask.sum()
        metrics = {
            "ratio": Mean(fill(ratio, tokens.mask).sum(), total),
            "clipped_low": Mean((tokens.mask & below).sum(), total),
            "clipped_high": Mean((tokens.mask & above).sum(), total),
        }
        return replace(signal, select=signal.select & ~above & ~below), metrics


def _entropy_ratio(tokens: Tokens) -> Float[Tensor, "b t"]:
    """``(H + 1e-8) / (H_old + 1e-8)`` without gradient, 1 where masked."""
    assert tokens.old_entropy is not None
    now, before = fill(tokens.entropy.detach(), tokens.mask), fill(tokens.old_entropy, tokens.mask)
    return (now + _FLOOR) / (before + _FLOOR)
