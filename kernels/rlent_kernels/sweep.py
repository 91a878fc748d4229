"""The two passes over a head in tiles: statistics of all rows, and gradients from their cotangents."""

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from rlent_kernels.cotangents import Cotangents
from rlent_kernels.plan import Columns, Plan
from rlent_kernels.precision import Precision
from rlent_kernels.running import Running


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The head's parameters: ``weight [v d]`` and ``bias [v]`` or None."""

    weight: Tensor
    bias: Tensor | None


class WeightSum:
    """The gradient ``[v d]`` of the weight under accumulation, a tile of the vocabulary at a time.

    Nothing is added to zeros that were written for it: at the size of a vocabulary that costs as
    much as a product.

    Args:
        held: dtype of the sum between visits of a tile; if it is not that of results, there may be
            one visit only.
    """

    def __init__(self, weight: Tensor, plan: Plan, held: torch.dtype) -> None:
        self._total = torch.empty_like(weight, dtype=held)
        self._tile = None
        if held != plan.precision.result:
            part = weight[: plan.column_tile]
            self._tile = torch.empty_like(part, dtype=plan.precision.result)
        self._visited = False

    def add(
        self, span: slice, left: Tensor, right: Tensor, precision: Precision, first: bool
    ) -> None:
        """Add ``left [c r] @ right [r d]`` to some columns; ``first`` of this visit."""
        into = self._total[span] if self._tile is None else self._tile[: span.stop - span.start]
        if first and not self._visited:
            precision.multiply(left, right, into)
        else:
            precision.accumulate(left, right, into)

    def leave(self, span: slice) -> None:
        """The end of a visit of some columns."""
        if self._tile is not None:
            self._total[span] = self._tile[: span.stop - span.start]

    def end(self) -> None:
        """The end of a visit of the whole vocabulary."""
        self._visited = True

    def result(self) -> Tensor:
        """The sum, 0 if there was nothing to add."""
        return self._total if self._visited else self._total.zero_()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Gradients under accumulation; None where autograd asks for none.

    Attributes:
        hidden: ``[k d]`` in the dtype of results.
        weight: of the weight.
        bias: ``[v]`` in the dtype of results.
        dtype: of results.
    """

    hidden: Tensor | None
    weight: WeightSum | None
    bias: Tensor | None
    dtype: torch.dtype

    @classmethod
    def start(
        cls,
        rows: int,
        weight: Tensor,
        needed: tuple[bool, ...],
        plan: Plan,
        held: torch.dtype,
    ) -> "Sums":
        """Sums for the gradients of hidden, weight and bias that are ``needed``; see ``WeightSum``."""
        dtype = plan.precision.result
        return cls(
            hidden=weight.new_zeros((rows, weight.shape[1]), dtype=dtype) if needed[0] else None,
            weight=WeightSum(weight, plan, held) if needed[1] else None,
            bias=weight.new_zeros(weight.shape[0], dtype=dtype) if needed[2] else None,
            dtype=dtype,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A plan, and the module that does what is done to each logit."""

    plan: Plan
    pointwise: ModuleType

    def collect(
        self,
        hidden: Tensor,
        targets: Tensor,
        head: Weights,
        *,
        further: bool = False,
        keep: Tensor | None = None,
    ) -> Running:
        """Statistics of the rows ``hidden [k d]``, cast for products, with ``targets [k]``.

        Args:
            further: also the sums of ``running.Further``.
            keep: ``[k v]`` that receives u (see ``LogitTransform``), or None.
        """
        running = Running.start(targets.numel(), targets, self.plan.precision.result, further)
        space = self._workspace(hidden)
        for columns in self.plan.columns(head.weight, head.bias):
            for part in self.plan.row_spans(targets.numel()):
                tile, spare = space.tile(part, columns)
                u = tile if keep is None else keep[part, columns.span]
                self.plan.multiply(hidden[part], columns, u)
                self.pointwise.absorb(
                    u,
                    running[part],
                    targets[part],
                    columns.span.start,
                    self.plan.transform,
                    spare,
                )
        return running

    def spread(
        self,
        hidden: Tensor,
        rows: Cotangents,
        head: Weights,
        sums: Sums,
        kept: Tensor | None = None,
    ) -> None:
        """Add to ``sums`` the gradients that the cotangents of ``hidden [k d]`` give.

        Args:
            kept: u of these rows ``[k v]``, or None to compute it again.
        """
        space = self._workspace(hidden)
        for columns in self.plan.columns(head.weight, head.bias):
            for part in self.plan.row_spans(len(hidden)):
                tile, spare = space.tile(part, columns)
                u = (
                    self.plan.multiply(hidden[part], columns, tile)
                    if kept is None
                    else kept[part, columns.span]
                )
                gradient = self.pointwise.logit_gradient(
                    u, rows[part], columns.span.start, self.plan, spare
                )
                operand = self.plan.precision.as_operand(gradient)
                if sums.hidden is not None:
                    self.plan.precision.accumulate(operand, columns.weight, sums.hidden[part])
                if sums.weight is not None:
                    first = part.start == 0
                    sums.weight.add(
                        columns.span, operand.T, hidden[part], self.plan.precision, first
                    )
                if sums.bias is not None:
                    sums.bias[columns.span] += gradient.sum(0, dtype=sums.dtype)
            if sums.weight is not None:
                sums.weight.leave(columns.span)
        if sums.weight is not None:
            sums.weight.end()

    def _workspace(self, hidden: Tensor) -> "_Workspace":
        rows = min(len(hidden), self.plan.row_tile)
        dtype = self.plan.precision.result
        return _Workspace(hidden.new_empty((3, rows * self.plan.column_tile), dtype=dtype))


@dataclass(frozen=True, slots=True)
class _Workspace:
    """Memory for the tiles of one pass: without it every tile would wait for fresh pages."""

    memory: Tensor

    def tile(self, part: slice, columns: Columns) -> tuple[Tensor, Tensor]:
        """A tile ``[r c]``, and two more of its size ``[2 r c]``."""
        shape = (part.stop - part.start, columns.span.stop - columns.span.start)
        tiles = self.memory[:, : shape[0] * shape[1]].view(3, *shape)
        return tiles[0], tiles[1:]
