"""The statistics of ``rlent.distributions`` from the head of a model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

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
    behind: Tensor,
    impl: str,
    **transform: Any,
) -> tuple[TokenStats, list[Tensor]]:
    """Log-probability and entropy of each target, and the statistics [*n] that were asked for, 0 where it is ignored.

    Args:
        hidden: last hidden states [b t d] that predict ``targets`` [b t].
        behind: those at the targets themselves, one place later.
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
        if statistic.name == "next_entropy":
            return _next_entropy(head, behind, targets, stats.entropy, impl=impl, **transform)
        of_rows = _of_rows(statistic, len(head.weight))
        if of_rows is None:
            return getattr(stats, statistic.name)
        rows = targets != IGNORE_INDEX
        return of_rows(hidden, head.weight, rows, bias=head.bias, **transform)

    return stats, [found(each) for each in asked]


def _next_entropy(
    head: Any, behind: Tensor, targets: Tensor, entropy: Tensor, *, impl: str, **transform: Any
) -> Tensor:
    """Entropy [b t] behind each target: its successor's, and that of one more row of the head behind the last."""
    scored = targets != IGNORE_INDEX
    followed = functional.pad(scored[:, 1:], (0, 1))
    last = torch.where(scored & ~followed, 0, IGNORE_INDEX)
    stats = token_stats(behind, head.weight, last, bias=head.bias, impl=impl, **transform)
    successor = functional.pad(entropy[:, 1:], (0, 1))
    return torch.where(scored & followed, successor, stats.entropy)


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
