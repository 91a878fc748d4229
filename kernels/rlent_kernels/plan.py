"""How the tiled implementation cuts a head into pieces and computes the logits of one piece."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from rlent_kernels.precision import Precision, choose_precision
from rlent_kernels.transform import LogitTransform
from rlent_kernels.types import LinearHead

# (rows, vocabulary). A CPU wants a tile of logits to stay in cache, a GPU wants to be filled.
_CPU_TILE = (1024, 2048)
_ACCELERATOR_TILE = (4096, 8192)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """A tile of the vocabulary: ``weight [c d]``, cast for products, and ``bias [c]`` or None."""

    span: slice
    weight: Tensor
    bias: Tensor | None

    def locate(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """``(index [r 1], inside [r])`` of targets in this tile.

        The index is a valid one also where ``inside`` is False: to pick rows instead would
        synchronise a GPU once per tile.
        """
        index = targets - self.span.start
        inside = (index >= 0) & (index < self.weight.shape[0])
        return index.clamp(0, self.weight.shape[0] - 1)[:, None], inside


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How one call is computed, the same in forward and backward."""

    transform: LogitTransform
    precision: Precision
    row_tile: int
    column_tile: int

    def row_spans(self, rows: int) -> Iterator[slice]:
        return _spans(rows, self.row_tile)

    def columns(self, weight: Tensor, bias: Tensor | None) -> Iterator[Columns]:
        for span in _spans(weight.shape[0], self.column_tile):
            yield Columns(
                span=span,
                weight=self.precision.cast(weight[span]),
                bias=None if bias is None else bias[span],
            )

    def logits(self, hidden: Tensor, columns: Columns) -> Tensor:
        """``[r c]`` logits of the distribution, a new tensor, from a cast ``hidden [r d]``."""
        raw = self.precision.mm(hidden, columns.weight.T)
        if columns.bias is not None:
            raw += columns.bias
        return self.transform.apply(raw)


def make_plan(head: LinearHead, tile: tuple[int, int] | None) -> Plan:
    """The plan for a head; ``tile`` is (rows, vocabulary), or None for the device's default."""
    if tile is None:
        tile = _CPU_TILE if head.hidden.device.type == "cpu" else _ACCELERATOR_TILE
    precision = choose_precision(head.hidden, head.weight)
    return Plan(
        transform=head.transform, precision=precision, row_tile=tile[0], column_tile=tile[1]
    )


def _spans(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, start + step)
