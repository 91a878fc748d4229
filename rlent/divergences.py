"""Per-token estimators of KL(policy || reference) from log-probabilities of the sampled tokens.

With ``x = logp - ref_logp`` of a token sampled from the policy, all in nats and with the tokens before it held fixed
(Schulman 2020, "Approximating KL Divergence"; the gradients follow from ``E[grad logp] = 0``)::

    estimator                value            its gradient          expectation of the gradient, on-policy
    k1                       x                grad logp             0
    k2                       x^2 / 2          x grad logp           grad KL(policy || reference)
    k3                       e^-x + x - 1     (1 - e^-x) grad logp  grad KL(reference || policy)

``k1`` and ``k3`` are unbiased for the value, yet as terms of a loss neither descends KL(policy || reference): ``k1``
adds noise only, and ``k3`` descends the KL divergence of the other direction. ``k2`` is biased for the value and right
for the gradient. On tokens of another policy (a second update on one generation batch) none of this holds.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.numerics import log_ratio


def k1(
    logp: Float[Tensor, "b t"], ref_logp: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """``logp - ref`` in nats: unbiased, of either sign; 0 where masked."""
    return log_ratio(logp, ref_logp, mask)


def k2(
    logp: Float[Tensor, "b t"], ref_logp: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """``(logp - ref)^2 / 2`` in nats: biased and never negative; 0 where masked."""
    return log_ratio(logp, ref_logp, mask).square() / 2


def k3(
    logp: Float[Tensor, "b t"], ref_logp: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """``exp(ref - logp) - (ref - logp) - 1`` in nats: unbiased and never negative; 0 where masked."""
    difference = log_ratio(ref_logp, logp, mask)
    return difference.exp() - difference - 1
