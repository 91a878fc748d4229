"""Rows that are computed, and rows that are not."""

import torch
from torch import Tensor

from rlent_kernels.types import IGNORE_INDEX


def indices(keep: Tensor) -> Tensor:
    """Positions ``[k]`` at which ``keep [n]`` is True; a GPU is synchronised."""
    return keep.nonzero()[:, 0]


def pick(values: Tensor, rows: Tensor) -> Tensor:
    """``values[rows]``, without a copy where ``rows`` [k] is all of them."""
    return values if len(rows) == len(values) else values[rows]


def at_rows(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """``values [k ...]`` at ``rows [k]`` of ``size``; elsewhere 0, -100 for ids, False for bools."""
    if len(rows) == size:
        return values
    blank = IGNORE_INDEX if values.dtype == torch.int64 else 0
    return values.new_full((size, *values.shape[1:]), blank).index_copy(0, rows, values)


def used(grad_log_probs: Tensor | None, grad_entropy: Tensor | None, targets: Tensor) -> Tensor:
    """Rows ``[n]`` that are computed and have an incoming gradient."""
    given = [gradient != 0 for gradient in (grad_log_probs, grad_entropy) if gradient is not None]
    computed = targets != IGNORE_INDEX
    if not given:
        return torch.zeros_like(computed)
    return computed & (given[0] if len(given) == 1 else given[0] | given[1])


def refuse_second_derivatives(operation: str) -> None:
    """Raise in a backward that autograd would have to differentiate.

    torch's ``once_differentiable`` lets hidden and weight through in silence: it refuses only where
    the cotangents themselves require a gradient.

    Raises:
        RuntimeError: gradients are being recorded.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{operation}: differentiable once; create_graph=True asks for second derivatives, "
            "which impl='reference' has"
        )
