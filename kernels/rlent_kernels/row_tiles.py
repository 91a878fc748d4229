"""Functions of whole rows of logits, computed in tiles of rows and differentiated by hand.

A function of the next-token distribution at a row, such as a divergence, needs the logits of that row over the whole
vocabulary. ``RowTiles`` forms them for a few rows at a time, in forward and again in backward, and adds up the
gradients of the head; what is computed of them is a ``RowFunction``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rlent_kernels.plan import Columns, Plan
from rlent_kernels.precision import choose_precision
from rlent_kernels.rows import indices
from rlent_kernels.transform import LogitTransform

# Logits of one head in a tile: 220 rows of a vocabulary of 152k, 128 MiB in float32.
_TILE_LOGITS = 2**25


@runtime_checkable
class RowFunction(Protocol):
    """A function of logits, for the rows that were picked."""

    def values(self, logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        """``[r]`` each, of the logits ``[r v]`` of the picked rows ``part``; the first has a gradient."""
        ...

    def logit_gradient(self, logits: Tensor, part: slice) -> Tensor:
        """Of the first value, ``[r v]``; may overwrite what it has made, and not ``logits``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What ``RowTiles`` is asked for.

    Attributes:
        operation: name for messages.
        function: from the positions ``[k]`` of the picked rows and the constants to the function.
        outputs: how many values the function has.
    """

    operation: str
    plan: Plan
    function: Callable[..., RowFunction]
    outputs: int = 1


class RowTiles(torch.autograd.Function):
    """``apply(hidden [n d], weight [v d], bias [v] | None, rows [n], task, *constants)``: the task's values ``[n]``.

    Differentiable in hidden, weight and bias, once, through the first value. Rows where ``rows`` is False are 0 and
    are not computed; nor are gradients that are not needed, and those of rows whose incoming gradient is 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        task: Task,
        *constants: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(hidden, weight, bias, rows, *constants)
        ctx.task = task
        plan = task.plan
        results = tuple(
            torch.zeros_like(rows, dtype=plan.precision.result) for _ in range(task.outputs)
        )
        picked = indices(rows)
        if picked.numel():
            current = Head.make(hidden[picked], weight, bias, plan)
            function = task.function(picked, *constants)
            for part in plan.row_spans(picked.numel()):
                values = function.values(current.logits(part), part)
                for result, value in zip(results, values, strict=True):
                    result[picked[part]] = value
        ctx.mark_non_differentiable(*results[1:])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        # torch's once_differentiable lets hidden and weight through in silence: it refuses only
        # where the cotangent itself requires a gradient.
        task: Task = ctx.task
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{task.operation}: differentiable once; create_graph=True asks for second derivatives"
            )
        cotangent = cotangents[0]
        hidden, weight, bias, rows, *constants = ctx.saved_tensors
        plan = task.plan
        picked = indices(rows & (cotangent != 0))
        sums = Sums.zeros(picked.numel(), weight, ctx.needs_input_grad, plan.precision.result)
        if picked.numel():
            current = Head.make(hidden[picked], weight, bias, plan)
            function = task.function(picked, *constants)
            for part in plan.row_spans(picked.numel()):
                logits = current.logits(part)
                gradient = function.logit_gradient(logits, part)
                gradient *= cotangent[picked[part], None]
                gradient *= plan.transform.slope
                if plan.transform.cap is not None:
                    gradient *= plan.transform.flattening(logits)
                sums.add(part, gradient, current)
        grad_hidden = sums.hidden
        if grad_hidden is not None:
            grad_hidden = torch.zeros_like(hidden).index_copy_(0, picked, grad_hidden.to(hidden))
        grad_weight = None if sums.weight is None else sums.weight.to(weight)
        grad_bias = None if sums.bias is None or bias is None else sums.bias.to(bias)
        return grad_hidden, grad_weight, grad_bias, None, None, *[None] * len(constants)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """One head at ``k`` rows: ``hidden [k d]``, cast for products, and the whole vocabulary."""

    hidden: Tensor
    columns: Columns
    plan: Plan

    @classmethod
    def make(cls, hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan) -> "Head":
        (columns,) = plan.columns(weight, bias)
        return cls(hidden=plan.precision.cast(hidden), columns=columns, plan=plan)

    def logits(self, part: slice) -> Tensor:
        """``[r v]``. Each head opens its own context: the other's operands may be of another
        dtype."""
        with self.plan.precision.products(self.hidden.device):
            u = self.hidden.new_empty(
                (len(self.hidden[part]), len(self.columns.weight)), dtype=self.plan.precision.result
            )
            self.plan.multiply(self.hidden[part], self.columns, u)
        return self.plan.transform.bend(u)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Gradients ``hidden [k d]``, ``weight [v d]`` and ``bias [v]`` under accumulation, in the
    result dtype; None where autograd asks for none."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(
        cls, rows: int, weight: Tensor, needed: tuple[bool, ...], dtype: torch.dtype
    ) -> "Sums":
        shapes = ((rows, weight.shape[1]), tuple(weight.shape), (weight.shape[0],))
        hidden, matrix, bias = (
            weight.new_zeros(shape, dtype=dtype) if need else None
            for shape, need in zip(shapes, needed[:3], strict=True)
        )
        return cls(hidden=hidden, weight=matrix, bias=bias)

    def add(self, part: slice, gradient: Tensor, head: Head) -> None:
        """Add what the rows ``part`` contribute, by their gradient ``[r v]`` in raw logits."""
        precision = head.plan.precision
        operand = precision.as_operand(gradient)
        with precision.products(gradient.device):
            if self.hidden is not None:
                precision.multiply(operand, head.columns.weight, self.hidden[part])
            if self.weight is not None:
                hidden = head.hidden[part]
                precision.accumulate(operand.T, hidden, self.weight)
        if self.bias is not None:
            self.bias.add_(gradient.sum(0))


def make_row_plan(
    hidden: Tensor, weight: Tensor, transform: LogitTransform, tile: int | None
) -> Plan:
    vocabulary = weight.shape[0]
    return Plan(
        transform=transform,
        precision=choose_precision(hidden, weight),
        row_tile=max(1, _TILE_LOGITS // vocabulary) if tile is None else tile,
        column_tile=vocabulary,
    )
