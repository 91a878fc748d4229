"""A loss of log-probability and entropy, differentiated while its logits are still there.

A few rows at a time: their logits over the whole vocabulary are computed and kept, the statistics
taken, the loss and its derivatives in both statistics computed, and from these at once the
gradients of hidden, weight and bias. That is three matrix products, where ``token_stats`` needs a
fourth to compute the logits again. Backward only multiplies by the incoming gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlent_kernels import reference
from rlent_kernels.cotangents import Cotangents
from rlent_kernels.implementations import NAMES, pointwise, resolve
from rlent_kernels.plan import PANEL_BYTES, Plan, make_plan, spans
from rlent_kernels.problem import checked_head
from rlent_kernels.rows import at_rows, indices, pick, refuse_second_derivatives
from rlent_kernels.running import Finished, finish
from rlent_kernels.sweep import Engine, Sums, Weights
from rlent_kernels.types import IGNORE_INDEX, LinearHead, TokenStats, Wanted
from rlent_kernels.validation import check_choice

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(log_probs [r], entropy [r], rows [r]) -> loss [r]``; see ``token_loss``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLoss:
    """A loss and the statistics it was computed from.

    Attributes:
        loss: the sum over all rows, a scalar, differentiable once in hidden, weight and bias.
        stats: ``log_probs`` and ``entropy`` ``[*n]`` as ``token_stats`` gives them, without
            gradient.
    """

    loss: Tensor
    stats: TokenStats


def token_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    impl: str = "auto",
    tile: tuple[int, int] | None = None,
) -> TokenLoss:
    """The sum over rows of a loss of log-probability and entropy, by three matrix products.

        loss = sum_i loss_i(log_probs_i, entropy_i)

    Value and gradients are those of ``loss(stats.log_probs, stats.entropy, rows).sum()`` with
    ``stats = token_stats(...)``. The gradients are formed in forward, so call it only where they
    are wanted; rows whose loss has derivative 0 take part in the first product alone. Without
    ``requires_grad`` anywhere, only the value is computed.

    Memory beyond ``token_stats``: logits of some rows over the whole vocabulary, 64 MiB or the
    size of the weight in the dtype of results, whichever is more; from forward to backward, the
    gradients of hidden and weight in that dtype.

    Args:
        loss: called with ``log_probs`` ``[r]`` and ``entropy`` ``[r]`` of some rows and their
            positions ``rows`` ``[r]`` in the flattened targets; returns ``[r]``. It is
            differentiated by autograd. A row's loss must not depend on other rows: how many there
            are in a call is not promised. Rows with target -100 are never seen.

    The other arguments, numbers and errors are those of ``token_stats``.

    Raises:
        ValueError: an argument is not as described, or ``loss`` returns another shape.
        RuntimeError: in backward, when second derivatives are asked for.
    """
    check_choice(impl, NAMES, tile=tile)
    head = checked_head(
        hidden,
        weight,
        targets,
        bias,
        temperature=temperature,
        logit_scale=logit_scale,
        softcap=softcap,
    )
    implementation = resolve(impl, hidden.device)
    if implementation == "reference":
        total, log_probs, entropy = _reference(head, loss)
    else:
        engine = Engine(plan=make_plan(head, tile), pointwise=pointwise(implementation))
        call = _Call(engine=engine, loss=loss)
        total, log_probs, entropy = _TokenLoss.apply(
            head.hidden, head.weight, head.bias, head.targets, call
        )
    stats = TokenStats(
        log_probs=log_probs.reshape(targets.shape), entropy=entropy.reshape(targets.shape)
    )
    return TokenLoss(loss=total, stats=stats)


def _reference(head: LinearHead, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    stats = reference.token_stats(head, Wanted())
    rows = indices(head.targets != IGNORE_INDEX)
    losses = _checked(loss, stats["log_probs"][rows], stats["entropy"][rows], rows)
    return losses.sum(), stats["log_probs"].detach(), stats["entropy"].detach()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """What a call of the autograd function takes beside its tensors."""

    engine: Engine
    loss: Loss


@dataclass(frozen=True, kw_only=True, slots=True)
class _Valued:
    """The loss of some rows and its derivatives ``[r]``."""

    total: Tensor
    grad_log_probs: Tensor
    grad_entropy: Tensor


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, call: _Call
    ) -> tuple[Tensor, Tensor, Tensor]:
        precision = call.engine.plan.precision
        head, rows = Weights(weight=weight, bias=bias), indices(targets != IGNORE_INDEX)
        needed = tuple(ctx.needs_input_grad)
        sums = Sums.start(len(rows), weight, needed, call.engine.plan, held=precision.result)
        total = hidden.new_zeros((), dtype=precision.result)
        statistics = hidden.new_zeros((2, len(rows)), dtype=precision.result)
        picked, ids = precision.cast(pick(hidden, rows)), pick(targets, rows)
        with precision.products(hidden.device):
            for part in _panels(len(rows), weight, call.engine.plan):
                panel = _Panel(hidden=picked[part], targets=ids[part], rows=rows[part])
                done, valued = panel.differentiate(call, head, _part(sums, part), any(needed))
                total += valued.total
                statistics[0, part], statistics[1, part] = done.log_probs, done.entropy
        log_probs, entropy = (at_rows(values, rows, len(targets)) for values in statistics)
        ctx.mark_non_differentiable(log_probs, entropy)
        grad_weight = None if sums.weight is None else sums.weight.result()
        ctx.save_for_backward(rows, sums.hidden, grad_weight, sums.bias)
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.rows = len(hidden)
        return total, log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives("token_loss")
        rows, *gradients = ctx.saved_tensors
        hidden, weight, bias = (
            None if gradient is None else (gradient * cotangents[0]).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return None if hidden is None else at_rows(hidden, rows, ctx.rows), weight, bias, None, None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Panel:
    """Some rows over the whole vocabulary: ``hidden [r d]``, cast, ``targets [r]``, positions ``rows [r]``."""

    hidden: Tensor
    targets: Tensor
    rows: Tensor

    def differentiate(
        self, call: _Call, head: Weights, sums: Sums, needed: bool
    ) -> tuple[Finished, _Valued]:
        """Statistics and loss of these rows; their gradients are added to ``sums`` if ``needed``."""
        keep = None
        if needed:
            keep = self.hidden.new_empty((len(self.rows), len(head.weight)), dtype=sums.dtype)
        done = finish(call.engine.collect(self.hidden, self.targets, head, keep=keep))
        valued = self._valued(call.loss, done)
        if keep is not None:
            self._spread(call.engine, head, sums, (done, valued, keep))
        return done, valued

    def _spread(
        self, engine: Engine, head: Weights, sums: Sums, found: tuple[Finished, _Valued, Tensor]
    ) -> None:
        """Add to ``sums`` the gradients of these rows, from what forward has found."""
        done, valued, kept = found
        used = indices((valued.grad_log_probs != 0) | (valued.grad_entropy != 0))
        if not len(used):
            return
        cotangents = Cotangents.make(
            self.targets,
            done.logsumexp,
            done.entropy,
            valued.grad_log_probs,
            valued.grad_entropy if valued.grad_entropy.any() else None,
            engine.plan.transform.slope,
        )
        hidden = None if sums.hidden is None else torch.zeros_like(pick(sums.hidden, used))
        into = replace(sums, hidden=hidden)
        engine.spread(pick(self.hidden, used), cotangents[used], head, into, pick(kept, used))
        if sums.hidden is not None and hidden is not None:
            sums.hidden.index_copy_(0, used, hidden)

    def _valued(self, loss: Loss, done: Finished) -> _Valued:
        with torch.enable_grad():
            log_probs = done.log_probs.detach().requires_grad_()
            entropy = done.entropy.detach().requires_grad_()
            total = _checked(loss, log_probs, entropy, self.rows).sum()
            zeros = torch.zeros_like(done.log_probs)
            if not total.requires_grad:
                return _Valued(total=total, grad_log_probs=zeros, grad_entropy=zeros)
            given = torch.autograd.grad(total, (log_probs, entropy), allow_unused=True)
        first, second = (zeros if gradient is None else gradient for gradient in given)
        return _Valued(total=total.detach(), grad_log_probs=first, grad_entropy=second)


def _checked(loss: Loss, log_probs: Tensor, entropy: Tensor, rows: Tensor) -> Tensor:
    losses = loss(log_probs, entropy, rows)
    if losses.shape != log_probs.shape:
        raise ValueError(
            f"token_loss: loss: expected to return shape {list(log_probs.shape)}, one loss per row; "
            f"got shape {list(losses.shape)}"
        )
    return losses


def _panels(rows: int, weight: Tensor, plan: Plan) -> list[slice]:
    """Parts of the rows whose logits are held at once.

    Every part reads and writes the sum of the weight's gradient once, so that logits of that size
    cost no more traffic than it does.
    """
    held = max(PANEL_BYTES, weight.numel() * plan.precision.result.itemsize)
    size = max(1, held // (len(weight) * plan.precision.result.itemsize))
    return list(spans(rows, size))


def _part(sums: Sums, part: slice) -> Sums:
    return replace(sums, hidden=None if sums.hidden is None else sums.hidden[part])
