"""How a head is cut into tiles of rows and vocabulary, and how the logits of one tile are computed.

Every number of a tile is read and written several times: by the product that makes it, by the
statistics, and in backward by two further products. The default tile therefore fits into the
cache nearest to the cores (level 2), with room for what is made of it. It is no smaller, because
each product also reads ``r d`` of hidden and ``c d`` of weight for ``r c`` logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rlent_kernels.cache import cache_bytes
from rlent_kernels.precision import Precision, choose_precision
from rlent_kernels.transform import LogitTransform
from rlent_kernels.types import LinearHead

# Share of the cache that the logits of a tile may take. A CPU makes two more tensors of that size.
_SHARE = {"cpu": 0.5}
_ACCELERATOR_SHARE = 0.67

# Least columns of a tile. Wide enough for products to run at full speed, narrow enough for many rows.
_COLUMNS = {"cpu": 1024}
_ACCELERATOR_COLUMNS = 2048
_MOST_COLUMNS = 8192

PANEL_BYTES = 2**26
"""Size up to which logits of whole rows are held: those of a whole call for backward, which then
computes one product less, or those of a few rows at a time."""

_ROW_MULTIPLE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """A tile of the vocabulary: ``weight [c d]``, cast for products, and ``bias [c]`` or None."""

    span: slice
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How one call is computed, the same in forward and backward."""

    transform: LogitTransform
    precision: Precision
    row_tile: int
    column_tile: int
    keep_logits: bool | None = None
    """Whether forward keeps the logits for backward; None: if they are at most ``PANEL_BYTES``."""

    def keeps_logits(self, rows: int, vocabulary: int) -> bool:
        """Whether forward keeps the logits of ``rows`` rows."""
        if self.keep_logits is not None:
            return self.keep_logits
        return rows * vocabulary * self.precision.result.itemsize <= PANEL_BYTES

    def takes_whole(self, head: LinearHead) -> bool:
        """Whether all logits of a call are one tile, and kept."""
        rows, vocabulary = len(head.targets), len(head.weight)
        fits = rows <= self.row_tile and vocabulary <= self.column_tile
        return fits and self.keeps_logits(rows, vocabulary)

    def row_spans(self, rows: int) -> Iterator[slice]:
        return spans(rows, self.row_tile)

    def columns(self, weight: Tensor, bias: Tensor | None) -> Iterator[Columns]:
        """The vocabulary in tiles; a tile that has to be cast is overwritten by the next one."""
        stored, cast = self.precision.stored(weight), None
        if (weight.dtype, self.precision.operand) != (stored, stored):
            shape = min(weight.shape[0], self.column_tile), weight.shape[1]
            cast = weight.new_empty(shape, dtype=stored)
        for span in spans(weight.shape[0], self.column_tile):
            part = weight[span].to(self.precision.operand)
            yield Columns(
                span=span,
                weight=part if cast is None else cast[: len(part)].copy_(part),
                bias=None if bias is None else bias[span],
            )

    def multiply(self, hidden: Tensor, columns: Columns, out: Tensor) -> Tensor:
        """Write ``u = scale * raw`` of a cast ``hidden [r d]`` into ``out [r c]``."""
        return self.precision.multiply(
            hidden, columns.weight.T, out, scale=self.transform.scale, bias=columns.bias
        )


def make_plan(
    head: LinearHead, tile: tuple[int, int] | None, keep_logits: bool | None = None
) -> Plan:
    """The plan for a head; ``tile`` is (rows, vocabulary), or None for ``default_tile``."""
    precision = choose_precision(head.hidden, head.weight)
    if tile is None:
        rows, vocabulary = len(head.targets), len(head.weight)
        tile = default_tile(rows, vocabulary, precision.result.itemsize, head.hidden.device)
    return Plan(
        transform=head.transform,
        precision=precision,
        row_tile=tile[0],
        column_tile=tile[1],
        keep_logits=keep_logits,
    )


def default_tile(
    rows: int, vocabulary: int, itemsize: int, device: torch.device
) -> tuple[int, int]:
    """(rows, vocabulary) of a tile of logits that stays in the device's cache.

    Many rows and few columns, so that each tile of the weight is read once; with few rows, more
    columns, so that there are fewer tiles.
    """
    share = _SHARE.get(device.type, _ACCELERATOR_SHARE)
    cells = int(cache_bytes(device) * share) // itemsize
    columns = cells // max(rows, _ROW_MULTIPLE)
    least = _COLUMNS.get(device.type, _ACCELERATOR_COLUMNS)
    columns = min(vocabulary, max(least, min(columns, _MOST_COLUMNS)))
    return max(cells // columns // _ROW_MULTIPLE, 1) * _ROW_MULTIPLE, columns


def spans(size: int, step: int) -> Iterator[slice]:
    """``[0, size)`` in slices of ``step``, the last one shorter."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))
