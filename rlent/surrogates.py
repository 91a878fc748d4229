"""Policy-gradient surrogates: (tokens, signal) -> loss per token [b t].

Each returns ``-surrogate`` before selection, weights and normalisation, which ``rlent.objective`` applies. A masked
position is 0. Ratios are ``r = exp(logp - old_logp)`` and bounds are on ``r`` itself.

To add a surrogate, write the function and one line in ``SURROGATES`` that lists the clip fields it reads. An
intervention that moves a field which the surrogate does not read is refused when the run is set up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.numerics import fill, log_ratio, safe_ratio, unit
from rlent.types import Signal, Tokens

Level = Literal["token", "sequence", "sequence_arithmetic"]
"""What a ratio belongs to: a token; a sequence, by the geometric mean of its tokens' ratios (GSPO, arXiv 2507.18071,
Eq. 7); a sequence, by their arithmetic mean (GRPO-S, arXiv 2508.04349, Eq. 10)."""

PerToken = Float[Tensor, "b t"]


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
    ratio: Float[Tensor, "*b #t"], advantage: PerToken, signal: Signal
) -> tuple[Bool[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Where PPO clips: the ratio below ``clip_low`` with ``A < 0``, and above ``clip_high`` with ``A > 0``."""
    return (
        (ratio < signal.clip_low) & (advantage < 0),
        (ratio > signal.clip_high) & (advantage > 0),
    )


def ppo(
    tokens: Tokens, signal: Signal, *, level: Level = "token", dual_clip: float | None = None
) -> PerToken:
    """Clipped surrogate ``-min(r A, clip(r, low, high) A)`` with a chosen share of gradient kept outside.

    Value: that of PPO. Gradient: ``-F A grad logp`` with ``F = r`` inside the bounds, ``keep_low * low`` where
    ``r < low`` and ``A < 0``, ``keep_high * high`` where ``r > high`` and ``A > 0``. With ``keep = 0`` this is PPO
    (arXiv 1707.06347, Eq. 7), with ``keep = 1`` GPPO (arXiv 2508.07629, Eq. 11), between them CE-GPPO (arXiv
    2509.20712, Eq. 8). At the level ``sequence`` it is GSPO (arXiv 2507.18071, Eq. 5).

    Args:
        dual_clip: for ``A < 0`` the loss stops at ``dual_clip * |A|`` and sends no gradient beyond (arXiv
            1912.09729, Eq. 5); TRL calls it ``delta``.
    """
    exponent = ratio_exponent(tokens, level)
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
    return fill(-advantage * (value + slope * (unit(exponent) - 1)), tokens.mask)


def cispo(tokens: Tokens, signal: Signal, *, level: Level = "token") -> PerToken:
    """``-sg(clip(r, low, high)) A logp`` (MiniMax-M1, arXiv 2506.13585, Eq. 4): every token keeps its gradient."""
    ratio = safe_ratio(ratio_exponent(tokens, level))
    clipped = torch.minimum(torch.maximum(ratio, signal.clip_low), signal.clip_high)
    return fill(-clipped * signal.advantage * fill(tokens.logp, tokens.mask), tokens.mask)


def sapo(
    tokens: Tokens,
    signal: Signal,
    *,
    level: Level = "token",
    temperature_positive: float = 1.0,
    temperature_negative: float = 1.05,
) -> PerToken:
    """Soft gate ``-(4 / tau) sigmoid(tau (r - 1)) A`` (SAPO, arXiv 2511.20347): no hard clip.

    ``tau`` is ``temperature_positive`` where ``A > 0`` and ``temperature_negative`` elsewhere. The gradient factor
    is ``4 sigmoid' (tau (r - 1)) r``, 1 at ``r = 1``.
    """
    exponent = ratio_exponent(tokens, level)
    advantage = fill(signal.advantage, tokens.mask)
    tau = torch.full_like(advantage, temperature_negative).masked_fill(
        advantage > 0, temperature_positive
    )
    ratio = safe_ratio(exponent) * unit(exponent)
    return fill(-torch.sigmoid(tau * (ratio - 1)) * 4 / tau * advantage, tokens.mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class Surrogate:
    """A surrogate and the bound fields of ``Signal`` that it reads."""

    function: Callable[..., PerToken]
    reads: frozenset[str]


_BOUNDS = frozenset({"clip_low", "clip_high"})

SURROGATES: dict[str, Surrogate] = {
    "ppo": Surrogate(function=ppo, reads=_BOUNDS | {"keep_low", "keep_high"}),
    "cispo": Surrogate(function=cispo, reads=_BOUNDS),
    "sapo": Surrogate(function=sapo, reads=frozenset()),
}
