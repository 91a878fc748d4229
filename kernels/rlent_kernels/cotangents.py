"""The gradient of the logits, from the gradients of log-probability and entropy."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Cotangents:
    """What backward knows of ``k`` rows, each ``[k]``.

    With cotangents a of log_probs and b of entropy,

        dL/dz_j = a [j = target] - p_j (a + b (log p_j + H)),

    that is ``target [j = target] + p_j (entropy log p_j + constant)`` with the coefficients below,
    each multiplied by the slope of the logit transform.

    Attributes:
        targets: ids.
        logsumexp: of the row; None where log p is at hand.
        target: a.
        entropy: -b, or None where no row has one: the tile then takes two passes less.
        constant: -(a + b H).
    """

    targets: Tensor
    logsumexp: Tensor | None
    target: Tensor
    entropy: Tensor | None
    constant: Tensor

    @classmethod
    def make(
        cls,
        targets: Tensor,
        logsumexp: Tensor | None,
        entropy: Tensor,
        grad_log_probs: Tensor | None,
        grad_entropy: Tensor | None,
        slope: float,
    ) -> "Cotangents":
        """The coefficients; None is a gradient of 0 at every row."""
        a = entropy.new_zeros(entropy.shape) if grad_log_probs is None else grad_log_probs * slope
        if grad_entropy is None:
            return cls(targets=targets, logsumexp=logsumexp, target=a, entropy=None, constant=-a)
        b = grad_entropy * slope
        return cls(
            targets=targets,
            logsumexp=logsumexp,
            target=a,
            entropy=-b,
            constant=-(a + b * entropy),
        )

    def __getitem__(self, part: slice | Tensor) -> "Cotangents":
        return Cotangents(
            targets=self.targets[part],
            logsumexp=None if self.logsumexp is None else self.logsumexp[part],
            target=self.target[part],
            entropy=None if self.entropy is None else self.entropy[part],
            constant=self.constant[part],
        )
