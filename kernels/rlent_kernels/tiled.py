"""The head in tiles of rows and vocabulary: no tensor of ``n * v`` elements ever exists.

Forward keeps, for every row, the maximum m of the logits seen so far, the total
s = sum_j e^(z_j - m) and the moment t = sum_j e^(z_j - m) (z_j - m). At the end
logsumexp z = m + log s and H = log s - t / s. This is the online softmax of Milakov and
Gimelshein (2018), algorithm 3, with the moment rescaled along.

Backward computes the logits of a tile again. With cotangents a of log_probs and b of entropy,

    dL/dz_j = a [j = target] - p_j (a + b (log p_j + H)).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlent_kernels.plan import Columns, Plan, make_plan
from rlent_kernels.types import IGNORE_INDEX, LinearHead

# e to this power is exactly 0 in float32 and float64. Exponents are clamped here so that a banned
# token, whose logit is -inf, gives 0 * finite and not 0 * inf.
_LOG_ZERO = -1.0e4


def token_stats(head: LinearHead, tile: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """``(log_probs [n], entropy [n])`` of a checked head, in tiles of (rows, vocabulary)."""
    plan = make_plan(head, tile)
    return _TokenStats.apply(head.hidden, head.weight, head.bias, head.targets, plan)


class _TokenStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor]:
        rows = _indices(targets != IGNORE_INDEX)
        with plan.precision.products(hidden.device):
            running = _sweep(hidden[rows], targets[rows], plan.columns(weight, bias), plan)
        log_total = running.total.log()
        # In this order small log-probabilities of large logits keep their digits.
        target_log_p = (running.target - running.maximum) - log_total
        blank = torch.zeros_like(targets, dtype=plan.precision.result)
        log_probs = blank.index_copy(0, rows, target_log_p)
        entropy = blank.index_copy(0, rows, log_total - running.moment / running.total)
        normalizer = blank.index_copy(0, rows, running.maximum + log_total)
        ctx.save_for_backward(hidden, weight, bias, targets, normalizer, entropy)
        ctx.plan = plan
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        # torch's once_differentiable lets hidden and weight through in silence: it refuses only
        # where the cotangents themselves require a gradient.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "token_stats: impl='torch' is differentiable once; create_graph=True asks for "
                "second derivatives, which impl='reference' has"
            )
        grad_log_probs, grad_entropy = cotangents
        hidden, weight, bias, targets, normalizer, entropy = ctx.saved_tensors
        plan: Plan = ctx.plan
        used = (grad_log_probs != 0) | (grad_entropy != 0)
        # Unselected, clipped and zero-advantage tokens end here, before any matrix product.
        rows = _indices(used & (targets != IGNORE_INDEX))
        picked = _Rows(
            hidden=plan.precision.cast(hidden[rows]),
            targets=targets[rows],
            normalizer=normalizer[rows, None],
            entropy=entropy[rows, None],
            grad_log_probs=grad_log_probs[rows, None],
            grad_entropy=grad_entropy[rows, None],
        )
        sums = _Sums.zeros(picked.hidden, weight, ctx.needs_input_grad, plan.precision.result)
        if rows.numel():
            with plan.precision.products(hidden.device):
                for columns in plan.columns(weight, bias):
                    _accumulate(sums, picked, columns, plan)
        grad_hidden = sums.hidden
        if grad_hidden is not None:
            grad_hidden = torch.zeros_like(hidden).index_copy_(0, rows, grad_hidden.to(hidden))
        grad_bias = None if sums.bias is None or bias is None else sums.bias.to(bias)
        return grad_hidden, sums.weight, grad_bias, None, None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    """Statistics ``[k]`` of the vocabulary seen so far, updated in place."""

    maximum: Tensor
    total: Tensor
    moment: Tensor
    target: Tensor

    def absorb(self, part: slice, logits: Tensor, columns: Columns, targets: Tensor) -> None:
        """Take in the tile ``logits [r c]`` of the rows ``part``; the tile is overwritten."""
        index, inside = columns.locate(targets)
        self.target[part] += logits.gather(1, index)[:, 0].where(inside, 0.0)
        maximum = torch.maximum(self.maximum[part], logits.amax(1))
        shifted = logits.sub_(maximum[:, None]).clamp_(min=_LOG_ZERO)
        mass = shifted.exp()
        step = self.maximum[part] - maximum
        rescale = step.exp()
        moment = self.moment[part] + step * self.total[part]
        self.moment[part] = rescale * moment + shifted.mul_(mass).sum(1)
        self.total[part] = rescale * self.total[part] + mass.sum(1)
        self.maximum[part] = maximum


def _sweep(hidden: Tensor, targets: Tensor, tiles: Iterator[Columns], plan: Plan) -> _Running:
    """The statistics of the whole vocabulary for ``hidden [k d]`` and ``targets [k]``."""
    cast = plan.precision.cast(hidden)
    zeros = targets.new_zeros((3, targets.numel()), dtype=plan.precision.result)
    # The lowest finite number and not -inf: the step between two maxima then stays finite where
    # every token seen so far is banned.
    lowest = torch.full_like(zeros[0], torch.finfo(zeros.dtype).min)
    running = _Running(maximum=lowest, total=zeros[0], moment=zeros[1], target=zeros[2])
    for columns in tiles:
        for part in plan.row_spans(targets.numel()):
            running.absorb(part, plan.logits(cast[part], columns), columns, targets[part])
    return running


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """What backward knows of the ``k`` rows that have a gradient; statistics are ``[k 1]``."""

    hidden: Tensor
    targets: Tensor
    normalizer: Tensor
    entropy: Tensor
    grad_log_probs: Tensor
    grad_entropy: Tensor

    def logit_gradient(self, part: slice, logits: Tensor, columns: Columns) -> Tensor:
        """``dL/dz [r c]`` of the rows ``part``; see the module's formula."""
        index, inside = columns.locate(self.targets[part])
        a, b = self.grad_log_probs[part], self.grad_entropy[part]
        log_p = (logits - self.normalizer[part]).clamp_(min=_LOG_ZERO)
        p = log_p.exp()
        gradient = log_p.mul_(-b).sub_(a + b * self.entropy[part]).mul_(p)
        return gradient.scatter_add_(1, index, a.where(inside[:, None], 0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """Gradients under accumulation; None where autograd asks for none.

    ``hidden [k d]`` and ``bias [v]`` are in the result dtype. ``weight [v d]`` is in the dtype of
    the weight: each of its tiles is written once, from a finished sum.
    """

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(
        cls, hidden: Tensor, weight: Tensor, needed: tuple[bool, ...], dtype: torch.dtype
    ) -> "_Sums":
        return cls(
            hidden=torch.zeros_like(hidden, dtype=dtype) if needed[0] else None,
            weight=torch.zeros_like(weight) if needed[1] else None,
            bias=weight.new_zeros(weight.shape[0], dtype=dtype) if needed[2] else None,
        )


def _accumulate(sums: _Sums, rows: _Rows, columns: Columns, plan: Plan) -> None:
    """Add what one tile of the vocabulary contributes, over all rows."""
    tile = None
    if sums.weight is not None:
        tile = torch.zeros_like(columns.weight, dtype=plan.precision.result)
    for part in plan.row_spans(rows.targets.numel()):
        logits = plan.logits(rows.hidden[part], columns)
        gradient = rows.logit_gradient(part, logits, columns)
        gradient = plan.transform.pull_back(gradient, logits)
        operand = plan.precision.cast(gradient)
        if sums.hidden is not None:
            sums.hidden[part] += plan.precision.mm(operand, columns.weight)
        if tile is not None:
            tile += plan.precision.mm(operand.T, rows.hidden[part])
        if sums.bias is not None:
            sums.bias[columns.span] += gradient.sum(0)
    if sums.weight is not None and tile is not None:
        sums.weight[columns.span] = tile


def _indices(keep: Tensor) -> Tensor:
    return keep.nonzero()[:, 0]
