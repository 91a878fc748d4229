"""The statistics of ``rlent.distributions`` from the head of a model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlent.distributions import Statistic
from rlent.numerics import whole_count
from rlent_kernels import (
    IGNORE_INDEX,
    TokenStats,
    mean_top_log_prob,
    restricted_entropy,
    token_stats,
)
from rlent_kernels.types import FURTHER


def head_statistics(
    head: Any,
    hidden: Tensor,
    targets: Tensor,
    asked: Sequence[Statistic],
    *,
    impl: str,
    **transform: Any,
) -> tuple[TokenStats, list[Tensor]]:
    """Log-probability and entropy of each target, and the statistics [*n] that were asked for, 0 where it is ignored.

    Args:
        transform: of the logits, as ``rlent_kernels`` takes it.
    """
    (min_p,) = {each.number for each in asked if each.name == "kept_log_probs"} or {None}
    stats = token_stats(
        hidden,
        head.weight,
        targets,
        bias=head.bias,
        also=[each.name for each in asked if each.name in FURTHER],
        min_p=min_p,
        impl=impl,
        **transform,
    )

    def found(statistic: Statistic) -> Tensor:
        of_rows = _of_rows(statistic, len(head.weight))
        if of_rows is None:
            return getattr(stats, statistic.name)
        rows = targets != IGNORE_INDEX
        return of_rows(hidden, head.weight, rows, bias=head.bias, **transform)

    return stats, [found(each) for each in asked]


def _of_rows(statistic: Statistic, vocabulary: int) -> Callable[..., Tensor] | None:
    """What computes a statistic in a pass of its own; None for one of ``token_stats``."""
    match statistic:
        case Statistic(name="clamped_entropy", number=float(share)):
            dropped = int(whole_count(share, torch.tensor(vocabulary)))
            return partial(restricted_entropy, top_k=vocabulary - dropped)
        case Statistic(name="nucleus_entropy", number=float(top_p)):
            return partial(restricted_entropy, top_p=top_p)
        case Statistic(name="open_nucleus_entropy", number=float(top_p)):
            return partial(restricted_entropy, top_p=top_p, crossing=False)
        case Statistic(name="mean_top_log_prob", number=int(k)):
            return partial(mean_top_log_prob, k=k)
        case _:
            return None
