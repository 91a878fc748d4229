"""The tokens of a completion by their entropy: the few that decide, and the many that follow."""

from dataclasses import replace

from jaxtyping import Bool
from torch import Tensor

from rlent.numerics import row_quantile
from rlent.types import Signal, Tokens


def high_entropy_tokens(tokens: Tokens, quantile: float) -> Bool[Tensor, "b t"]:
    """Tokens above the quantile of their completion's entropies under the current policy.

    The quantile is linear between order statistics. A token at the quantile is not above it, so in a completion of
    equal entropies there is none.
    """
    entropy = tokens.entropy.detach()
    return tokens.mask & (entropy > row_quantile(entropy, tokens.mask, quantile))


def bounded(signal: Signal, chosen: Bool[Tensor, "b t"], epsilon: float) -> Signal:
    """The signal with bounds ``1 -+ epsilon`` at the chosen tokens."""
    return replace(
        signal,
        clip_low=signal.clip_low.masked_fill(chosen, 1 - epsilon),
        clip_high=signal.clip_high.masked_fill(chosen, 1 + epsilon),
    )
