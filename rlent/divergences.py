"""Per-token estimators of KL(policy || reference) from log-probabilities of the sampled tokens."""

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.numerics import fill


def k3(
    logp: Float[Tensor, "b t"], ref_logp: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """``exp(ref - logp) - (ref - logp) - 1`` in nats: unbiased and never negative (Schulman 2020); 0 where masked."""
    difference = fill(ref_logp, mask) - fill(logp, mask)
    return difference.exp() - difference - 1
