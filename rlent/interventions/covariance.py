"""The covariance of log-probability and advantage, token by token, which drives the entropy of the policy.

Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models", arXiv 2505.22617::

    Cov_t = (A_t - mean A) (log pi_t - mean log pi)

whose mean over the tokens is their covariance. A positive one lowers entropy.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.numerics import fill
from rlent.reduce import LOCAL, Reduce


@dataclass(frozen=True, kw_only=True, slots=True)
class Centre:
    """The means that covariances are taken around."""

    logp: Tensor
    advantage: Tensor

    def covariance(
        self,
        logp: Float[Tensor, "b t"],
        advantage: Float[Tensor, "b t"],
        mask: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b t"]:
        """``Cov_t`` without gradient, 0 where masked."""
        moved = fill(logp.detach(), mask) - self.logp, fill(advantage, mask) - self.advantage
        return fill(moved[0] * moved[1], mask)


def centre(
    logp: Float[Tensor, "b t"],
    advantage: Float[Tensor, "b t"],
    mask: Bool[Tensor, "b t"],
    reduce: Reduce = LOCAL,
) -> Centre:
    """Means over the masked-in tokens of all ranks; 0 where there are none."""
    count = reduce.sum(mask.sum()).clamp(min=1)
    means = [reduce.sum(fill(v.detach(), mask).sum()) / count for v in (logp, advantage)]
    return Centre(logp=means[0], advantage=means[1])
