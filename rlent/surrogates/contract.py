"""The contract of a surrogate: (tokens, signal) -> loss per token [b t].

A surrogate is a frozen config dataclass that derives from ``Surrogate`` and is called with a micro-batch. What it
returns is ``-surrogate`` before selection, weights and normalisation, which ``rlent.objective`` applies; a masked
position is 0. Ratios are ``r = exp(logp - old_logp)`` and bounds are on ``r`` itself.

A surrogate whose terms belong to a whole sequence gives every token of the sequence the same number, so that the mean
over its tokens is the sequence's term.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.numerics import fill, log_ratio, safe_ratio
from rlent.types import Signal, Tokens

Level = Literal["token", "sequence", "sequence_arithmetic"]
"""What a ratio belongs to: a token; a sequence, by the geometric mean of its tokens' ratios (arXiv 2507.18071, Eq. 7);
a sequence, by their arithmetic mean (arXiv 2508.04349, Eq. 10)."""

PerToken = Float[Tensor, "b t"]
Sides = tuple[Bool[Tensor, "b t"], Bool[Tensor, "b t"]]
"""Where a surrogate takes the gradient away: on tokens with ``A < 0``, and on tokens with ``A > 0``."""

CLIP = frozenset({"clip_low", "clip_high"})
KEEP = frozenset({"keep_low", "keep_high"})


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """Base of every surrogate's config."""

    name: ClassVar[str]
    """The name in recipes and in the table."""
    paper: ClassVar[str]
    """Title and arXiv number."""
    reads: ClassVar[frozenset[str]] = frozenset()
    """The bound fields of ``Signal`` that it reads: an intervention that moves another one is refused."""
    trl_options: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """TRL's options that configure it when it is TRL's loss type, and the fields here that they set."""
    learns_without_advantage: ClassVar[bool] = False
    """Whether a token whose advantage is 0 has a gradient."""
    takes_sampling_correction: ClassVar[bool] = True
    """Whether its tokens may be weighted by TRL's ratio between the policy's probabilities and the sampler's."""

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        """Loss of every token, 0 where the mask does not hold."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")

    @property
    def ratio_level(self) -> Level:
        """What its ratio belongs to."""
        return "token"

    def bounds(self, epsilon: float, epsilon_high: float | None) -> tuple[float, float]:
        """Bounds on the ratio before any intervention moves them, from TRL's options of these names."""
        return 0.0, math.inf

    def check_bounds(self, low: float, high: float) -> None:
        """Whether its options go with bounds on the ratio.

        Raises:
            ValueError: one does not, which is named.
        """

    def clipped(self, tokens: Tokens, signal: Signal) -> Sides | None:
        """Where it takes the gradient away; None for a surrogate that never does."""
        return None

    def measures(
        self, tokens: Tokens, signal: Signal
    ) -> dict[str, Float[Tensor, "b t"] | Float[Tensor, "b 1"]]:
        """Numbers of tokens, or of sequences, whose mean is worth a metric of the name."""
        return {}


def ratio_exponent(tokens: Tokens, level: Level) -> Float[Tensor, "*b #t"]:
    """``log r`` of every token, or of every sequence with shape [b 1]; 0 for a sequence without tokens."""
    per_token = log_ratio(tokens.logp, tokens.old_logp, tokens.mask)
    if level == "token":
        return per_token
    count = tokens.mask.sum(-1, keepdim=True).clamp(min=1)
    if level == "sequence":
        return per_token.sum(-1, keepdim=True) / count
    # A sequence without tokens keeps its zeros, because the log of an empty sum has no gradient.
    inside = tokens.mask | ~tokens.mask.any(-1, keepdim=True)
    total = per_token.masked_fill(~inside, -torch.inf).logsumexp(-1, keepdim=True)
    return total - inside.sum(-1, keepdim=True).to(total.dtype).log()


def clipped_sides(
    ratio: Float[Tensor, "*b #t"], advantage: Float[Tensor, "b t"], signal: Signal
) -> Sides:
    """Ratios below ``clip_low`` with ``A < 0``, and above ``clip_high`` with ``A > 0``."""
    return (
        (ratio < signal.clip_low) & (advantage < 0),
        (ratio > signal.clip_high) & (advantage > 0),
    )


def sides_at(tokens: Tokens, signal: Signal, level: Level) -> Sides:
    """``clipped_sides`` of the ratios of a level."""
    ratio = safe_ratio(ratio_exponent(tokens, level))
    return clipped_sides(ratio, fill(signal.advantage, tokens.mask), signal)
