"""The two passes over a head in tiles: statistics of all rows, and gradients from their cotangents."""

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from rlent_kernels.cotangents import Cotangents
from rlent_kernels.plan import Columns, Plan
from rlent_kernels.running import Running


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The head's parameters: ``weight [v d]`` and ``bias [v]`` or None."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Gradients under accumulation; None where autograd asks for none.

    Attributes:
        hidden: ``[k d]`` in the dtype of results.
        weight: ``[v d]``, in that dtype or, where each tile of the vocabulary is visited once, in
            the dtype of the weight.
        bias: ``[v]`` in the dtype of results.
        dtype: of results.
    """

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    dtype: torch.dtype

    @classmethod
    def zeros(
        cls,
        rows: int,
        weight: Tensor,
        needed: tuple[bool, ...],
        dtype: torch.dtype,
        held: torch.dtype,
    ) -> "Sums":
        """Zeros for the gradients of hidden, weight and bias that are ``needed``.

        Args:
            held: dtype of the weight's gradient.
        """
        return cls(
            hidden=weight.new_zeros((rows, weight.shape[1]), dtype=dtype) if needed[0] else None,
            weight=torch.zeros_like(weight, dtype=held) if needed[1] else None,
            bias=weight.new_zeros(weight.shape[0], dtype=dtype) if needed[2] else None,
            dtype=dtype,
        )

    def weight_tile(self, span: slice) -> Tensor | None:
        """Where the gradient of some columns is summed: the place itself, or zeros of ``dtype``."""
        if self.weight is None or self.weight.dtype == self.dtype:
            return None if self.weight is None else self.weight[span]
        return torch.zeros_like(self.weight[span], dtype=self.dtype)

    def store_weight_tile(self, span: slice, tile: Tensor | None) -> None:
        """Write a finished ``weight_tile``, rounded, unless it is its own place."""
        if self.weight is not None and tile is not None and self.weight.dtype != self.dtype:
            self.weight[span] = tile


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
            weight_sum = sums.weight_tile(columns.span)
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
                if weight_sum is not None:
                    self.plan.precision.accumulate(operand.T, hidden[part], weight_sum)
                if sums.bias is not None:
                    sums.bias[columns.span] += gradient.sum(0, dtype=sums.dtype)
            sums.store_weight_tile(columns.span, weight_sum)

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
