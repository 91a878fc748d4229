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
