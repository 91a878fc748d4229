"""The records that cross the package's borders: what comes out, and what every backend receives."""

from dataclasses import dataclass

from torch import Tensor

from rlent_kernels.transform import LogitTransform

IGNORE_INDEX = -100
"""Target of a row that is not computed, as in ``torch.nn.functional.cross_entropy``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenStats:
    """Statistics of the next-token distribution at every row, differentiable.

    Attributes:
        log_probs: ``log p(target)`` in nats, shape ``[*n]``.
        entropy: ``-sum_j p_j log p_j`` in nats over the full vocabulary, shape ``[*n]``.

    Both are float32, or float64 when hidden is float64, and 0 where the target is
    ``IGNORE_INDEX``.
    """

    log_probs: Tensor
    entropy: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearHead:
    """A checked problem with its leading dimensions flattened: what a backend computes.

    Attributes:
        hidden: ``[n d]``.
        weight: ``[v d]``.
        bias: ``[v]`` or None.
        targets: ``[n]`` int64, each in ``[0, v)`` or ``IGNORE_INDEX``.
        transform: the map from raw logits to the logits of the distribution.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    transform: LogitTransform
