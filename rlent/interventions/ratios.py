"""What several interventions ask of a token's ratio ``pi / pi_old``; nothing here carries gradient."""

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.numerics import fill, log_ratio, safe_ratio
from rlent.types import Signal, Tokens


def token_ratio(tokens: Tokens) -> Float[Tensor, "b t"]:
    """``pi / pi_old`` of every token, from a log-ratio clamped to +-20; 1 at masked positions."""
    return safe_ratio(log_ratio(tokens.logp, tokens.old_logp, tokens.mask))


def clipped_tokens(tokens: Tokens, signal: Signal) -> Bool[Tensor, "b t"]:
    """Tokens on the flat side of PPO's clip: above the upper bound with ``A > 0``, below the lower with ``A < 0``."""
    ratio, advantage = token_ratio(tokens), fill(signal.advantage, tokens.mask)
    above = (ratio > signal.clip_high) & (advantage > 0)
    return above | ((ratio < signal.clip_low) & (advantage < 0))
