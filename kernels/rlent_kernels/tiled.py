"""The head in tiles of rows and vocabulary: no tensor of all logits exists unless they are few.

Forward makes one pass over the vocabulary (``running``). Backward computes the logits of a tile
again and turns them into gradients (``cotangents``), only for rows that have an incoming gradient.
That is one matrix product more than in a head that keeps its logits, which is done here where
they are few (``Plan.keeps_logits``).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlent_kernels.cotangents import Cotangents
from rlent_kernels.distribution import Rows, distribution_stats
from rlent_kernels.rows import at_rows, indices, pick, refuse_second_derivatives, used
from rlent_kernels.running import Finished, finish, finish_further
from rlent_kernels.sweep import Engine, Sums, Weights
from rlent_kernels.types import IGNORE_INDEX, LinearHead, Wanted


def token_stats(head: LinearHead, wanted: Wanted, engine: Engine) -> dict[str, Tensor]:
    """The statistics of a checked head by name, each ``[n]`` or ``[n k]``."""
    call = _Call(engine=engine, wanted=wanted)
    results = _TokenStats.apply(head.hidden, head.weight, head.bias, head.targets, call)
    return dict(zip(("log_probs", "entropy", *wanted.outputs), results, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """What a call of the autograd function takes beside its tensors."""

    engine: Engine
    wanted: Wanted


class _TokenStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, call: _Call
    ) -> tuple[Tensor, ...]:
        plan = call.engine.plan
        head, rows = Weights(weight=weight, bias=bias), indices(targets != IGNORE_INDEX)
        picked = plan.precision.cast(pick(hidden, rows))
        keep = None
        if any(ctx.needs_input_grad) and plan.keeps_logits(len(rows), len(weight)):
            keep = hidden.new_empty((len(rows), len(weight)), dtype=plan.precision.result)
        with plan.precision.products(hidden.device):
            done, further = _statistics(call, picked, pick(targets, rows), head, keep)
        log_probs, entropy, logsumexp = (
            at_rows(values, rows, len(targets))
            for values in (done.log_probs, done.entropy, done.logsumexp)
        )
        results = [at_rows(further[name], rows, len(targets)) for name in call.wanted.outputs]
        ctx.mark_non_differentiable(*results)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(hidden, weight, bias, targets, logsumexp, entropy, keep)
        ctx.call = call
        return log_probs, entropy, *results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives("token_stats")
        grad_log_probs, grad_entropy = cotangents[:2]
        hidden, weight, bias, targets, logsumexp, entropy, kept = ctx.saved_tensors
        engine: Engine = ctx.call.engine
        precision = engine.plan.precision
        # Unselected, clipped and zero-advantage tokens end here, before any matrix product.
        rows = indices(used(grad_log_probs, grad_entropy, targets))
        sums = Sums.start(len(rows), weight, ctx.needs_input_grad, engine.plan, held=weight.dtype)
        if len(rows):
            computed = indices(targets != IGNORE_INDEX)
            cotangent = Cotangents.make(
                targets,
                logsumexp,
                entropy,
                grad_log_probs,
                grad_entropy,
                engine.plan.transform.slope,
            )
            with precision.products(hidden.device):
                engine.spread(
                    precision.cast(pick(hidden, rows)),
                    cotangent if len(rows) == len(targets) else cotangent[rows],
                    Weights(weight=weight, bias=bias),
                    sums,
                    None if kept is None else pick(kept, torch.searchsorted(computed, rows)),
                )
        grad_hidden = sums.hidden
        if grad_hidden is not None:
            grad_hidden = at_rows(grad_hidden.to(hidden), rows, len(hidden))
        grad_bias = None if sums.bias is None or bias is None else sums.bias.to(bias)
        grad_weight = None if sums.weight is None else sums.weight.result()
        return grad_hidden, grad_weight, grad_bias, None, None


def _statistics(
    call: _Call, hidden: Tensor, targets: Tensor, head: Weights, keep: Tensor | None
) -> tuple[Finished, dict[str, Tensor]]:
    wanted = call.wanted
    running = call.engine.collect(hidden, targets, head, further=bool(wanted.names), keep=keep)
    done = finish(running)
    further = finish_further(running, targets, len(head.weight), wanted.names)
    rows = Rows(hidden=hidden, targets=targets, logsumexp=done.logsumexp)
    return done, further | distribution_stats(call.engine, rows, head, wanted)
