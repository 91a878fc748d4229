"""The head with its logits in one piece, where they are few.

Tiles cost some sixty operators on small tensors; here it is a third of that, and what is held is
no more than the tile would be. Backward drops rows without incoming gradient, as in ``tiled``.
"""

from typing import Any

import torch
from torch import Tensor

from rlent_kernels.cotangents import Cotangents
from rlent_kernels.plan import Plan
from rlent_kernels.rows import at_rows, indices, pick, refuse_second_derivatives, used
from rlent_kernels.running import LOG_ZERO
from rlent_kernels.types import IGNORE_INDEX, LinearHead


def token_stats(head: LinearHead, plan: Plan) -> dict[str, Tensor]:
    """Log-probability and entropy ``[n]`` of a checked head."""
    log_probs, entropy = _TokenStats.apply(head.hidden, head.weight, head.bias, head.targets, plan)
    return {"log_probs": log_probs, "entropy": entropy}


class _TokenStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor]:
        rows = indices(targets != IGNORE_INDEX)
        operand, matrix = plan.precision.cast(pick(hidden, rows)), plan.precision.cast(weight)
        u = hidden.new_empty((len(rows), len(weight)), dtype=plan.precision.result)
        with plan.precision.products(hidden.device):
            plan.precision.multiply(operand, matrix.T, u, scale=plan.transform.scale, bias=bias)
        z = plan.transform.bend(u)
        log_p = torch.log_softmax(z, dim=1)
        log_probs = log_p.gather(1, pick(targets, rows)[:, None])[:, 0]
        log_p.clamp_(min=LOG_ZERO)
        entropy = -(log_p.exp() * log_p).sum(1)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            operand,
            matrix,
            targets,
            rows,
            entropy,
            log_p,
            None if plan.transform.cap is None else z,
        )
        ctx.inputs = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.plan = plan
        return at_rows(log_probs, rows, len(targets)), at_rows(entropy, rows, len(targets))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives("token_stats")
        operand, matrix, targets, rows, entropy, log_p, z = ctx.saved_tensors
        wanted = used(cotangents[0], cotangents[1], targets)
        # Unselected, clipped and zero-advantage tokens end here, before any matrix product.
        kept = indices(pick(wanted, rows))
        into = pick(rows, kept)
        gradient = _logit_gradient(
            pick(log_p, kept),
            Cotangents.make(
                pick(targets, into),
                None,
                pick(entropy, kept),
                None if cotangents[0] is None else pick(cotangents[0], into),
                None if cotangents[1] is None else pick(cotangents[1], into),
                slope=ctx.plan.transform.slope,
            ),
        )
        if z is not None:
            gradient.mul_(ctx.plan.transform.flattening(pick(z, kept)))
        results: list[Tensor | None] = [None, None, None]
        precision, needed = ctx.plan.precision, ctx.needs_input_grad
        with precision.products(gradient.device):
            product = precision.as_operand(gradient)
            if needed[0]:
                results[0] = precision.multiply(
                    product, matrix, gradient.new_empty((len(into), matrix.shape[1]))
                )
                results[0] = at_rows(results[0].to(ctx.inputs[0]), into, len(targets))
            if needed[1]:
                results[1] = precision.multiply(
                    product.T, pick(operand, kept), gradient.new_empty(matrix.shape)
                ).to(ctx.inputs[1])
        if needed[2]:
            results[2] = gradient.sum(0).to(ctx.inputs[2])
        return *results, None, None


def _logit_gradient(log_p: Tensor, rows: Cotangents) -> Tensor:
    """``dL/dz [k v]``; see ``Cotangents`` for the formula."""
    if rows.entropy is None:
        gradient = log_p.exp().mul_(rows.constant[:, None])
    else:
        gradient = (log_p * rows.entropy[:, None]).add_(rows.constant[:, None])
        gradient.mul_(log_p.exp())
    return gradient.scatter_add_(1, rows.targets[:, None], rows.target[:, None])
