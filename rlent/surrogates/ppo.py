"""The clipped surrogate, with a dual clip and with a chosen share of the gradient kept outside the bounds.

Schulman et al., "Proximal Policy Optimization Algorithms", arXiv 1707.06347, Eq. 7::

    loss_t = -min(r_t A_t, clip(r_t, low, high) A_t)

Gradient: ``-F A grad logp`` with ``F = r`` inside the bounds, ``keep_low * low`` where ``r < low`` and ``A < 0``,
``keep_high * high`` where ``r > high`` and ``A > 0``. With ``keep = 0`` this is PPO, with ``keep = 1`` GPPO (arXiv
2508.07629, Eq. 11), between them CE-GPPO (arXiv 2509.20712, Eq. 8). The value is PPO's throughout.

Bounds: ``1 - epsilon`` and ``1 + epsilon_high``; they need not be symmetric (clip-higher, arXiv 2503.14476, Eq. 10).
TRL's loss types grpo, bnpo, dr_grpo, dapo and luspo are this one, averaged in different ways; it is the default, and
TRL's names of its options are ``importance_sampling_level`` and ``delta``. Recipe, written out::

    trainer: {loss_type: dapo, epsilon_high: 0.28, surrogate: {ppo: {dual_clip: 10.0}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.numerics import fill, safe_ratio, unit
from rlent.surrogates.contract import (
    CLIP,
    KEEP,
    Level,
    PerToken,
    Sides,
    Surrogate,
    clipped_sides,
    ratio_exponent,
    sides_at,
)
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class PPO(Surrogate):
    """Clip the ratio where the advantage would push it further out: ``-min(r A, clip(r) A)``."""

    name: ClassVar[str] = "ppo"
    paper: ClassVar[str] = "Proximal Policy Optimization, arXiv 1707.06347"
    reads: ClassVar[frozenset[str]] = CLIP | KEEP
    trl_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"importance_sampling_level": "level", "delta": "dual_clip"}
    )

    level: Level = "token"
    """Whose ratio is clipped: a token's, or a sequence's by the geometric (gspo) or the arithmetic mean (GRPO-S)."""
    dual_clip: float | None = None
    """For ``A < 0`` the loss stops at this times ``|A|`` and sends no gradient beyond (arXiv 1912.09729, Eq. 5)."""

    @property
    def ratio_level(self) -> Level:
        return self.level

    def bounds(self, epsilon: float, epsilon_high: float | None) -> tuple[float, float]:
        return 1.0 - epsilon, 1.0 + (epsilon if epsilon_high is None else epsilon_high)

    def check_bounds(self, low: float, high: float) -> None:
        if self.dual_clip is not None and self.dual_clip <= high:
            raise ValueError(
                f"dual_clip must be above the upper clip bound, where it begins: more than {high}, got {self.dual_clip}"
            )

    def clipped(self, tokens: Tokens, signal: Signal) -> Sides:
        return sides_at(tokens, signal, self.level)

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        exponent = ratio_exponent(tokens, self.level)
        return clipped_loss(tokens, signal, exponent, unit(exponent), self.dual_clip)


def clipped_loss(
    tokens: Tokens,
    signal: Signal,
    exponent: Float[Tensor, "*b #t"],
    carrier: Float[Tensor, "*b #t"],
    dual_clip: float | None = None,
) -> PerToken:
    """The clipped surrogate of the ratio ``exp(exponent)``, of tokens or, with shape [b 1], of sequences.

    Args:
        carrier: 1 in value, with the gradient of the log-probabilities that the ratio stands for.
    """
    ratio = safe_ratio(exponent)
    advantage = fill(signal.advantage, tokens.mask)
    below, above = clipped_sides(ratio, advantage, signal)
    value = torch.where(below, signal.clip_low, torch.where(above, signal.clip_high, ratio))
    slope = torch.where(
        below,
        signal.keep_low * signal.clip_low,
        torch.where(above, signal.keep_high * signal.clip_high, ratio),
    )
    if dual_clip is not None:
        beyond = (value > dual_clip) & (advantage < 0)
        value, slope = value.masked_fill(beyond, dual_clip), slope.masked_fill(beyond, 0.0)
    return fill(-advantage * (value + slope * (carrier - 1)), tokens.mask)
