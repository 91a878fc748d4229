"""The tokens of a completion by their entropy: the few that decide, and the many that follow."""

import math
from dataclasses import replace

from jaxtyping import Bool
from torch import Tensor

from rlent.numerics import row_quantile
from rlent.types import Signal, Tokens

Epsilon = float | tuple[float, float]
"""Distance of both bounds on the ratio from 1, or that of the lower and that of the upper one."""


def high_entropy_tokens(tokens: Tokens, quantile: float) -> Bool[Tensor, "b t"]:
    """Tokens above the quantile of their completion's entropies under the current policy.

    The quantile is linear between order statistics. A token at the quantile is not above it, so in a completion of
    equal entropies there is none.
    """
    entropy = tokens.entropy.detach()
    return tokens.mask & (entropy > row_quantile(entropy, tokens.mask, quantile))


def bounded(signal: Signal, chosen: Bool[Tensor, "b t"], epsilon: Epsilon | None) -> Signal:
    """The signal with bounds ``1 - low`` and ``1 + high`` at the chosen tokens; None leaves them where they are."""
    if epsilon is None:
        return signal
    low, high = _pair(epsilon)
    return replace(
        signal,
        clip_low=signal.clip_low.masked_fill(chosen, 1 - low),
        clip_high=signal.clip_high.masked_fill(chosen, 1 + high),
    )


def check_epsilon(name: str, epsilon: Epsilon | None) -> None:
    """Refuse distances from which no bounds around 1 can be made.

    Raises:
        ValueError: names the field.
    """
    if epsilon is None:
        return
    low, high = _pair(epsilon)
    if not (0.0 <= low <= 1.0 and 0.0 <= high < math.inf):
        raise ValueError(
            f"{name} must be in [0, 1], or two distances of which the lower is in [0, 1] and the upper not negative, "
            f"got {epsilon}"
        )


def _pair(epsilon: Epsilon) -> tuple[float, float]:
    return (epsilon, epsilon) if isinstance(epsilon, int | float) else epsilon
