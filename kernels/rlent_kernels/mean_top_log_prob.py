"""Mean log-probability of the likeliest tokens, with its gradient, in tiles of rows.

With p = softmax z of a row and the set K of its k most probable tokens,

    m = (1 / k) sum_{j in K} log p_j,    dm/dz_j = 1[j in K] / k - p_j.

K is a constant: where it changes, m has a kink that has no gradient.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from rlent_kernels.head_checks import check_heads, check_numbers, require
from rlent_kernels.row_tiles import RowTiles, Task, make_row_plan
from rlent_kernels.transform import LogitTransform

_OPERATION = "mean_top_log_prob"


def mean_top_log_prob(
    hidden: Tensor,
    weight: Tensor,
    rows: Tensor,
    k: int,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> Tensor:
    """Mean log-probability in nats of the ``k`` most probable tokens, at the chosen rows.

    The logits are those of ``token_stats``; precision, rows, gradients
    and memory are as in ``token_kl`` with one head. Equals at the border are in no particular
    order, and with them which of them have a gradient; backward chooses them again. Where fewer
    than ``k`` tokens have a probability above 0, the value is -inf and the gradient that of the
    formula.

    Args:
        hidden: ``[*n d]``.
        weight: ``[v d]``.
        rows: ``[*n]`` bool, the rows to compute; the result is 0 at the others.
        k: between 1 and v.
        tile: rows of a tile; None picks as ``token_kl`` does.

    Returns:
        ``[*n]``, differentiable once in hidden, weight and bias.

    Raises:
        ValueError: a shape, dtype, device or number is not as described.
        RuntimeError: in backward, when second derivatives are asked for.
    """
    check_numbers(_OPERATION, temperature, logit_scale, softcap, tile)
    check_heads(_OPERATION, {"hidden": hidden, "weight": weight, "bias": bias}, rows, ())
    require(_OPERATION, 1 <= k <= len(weight), "k", f"between 1 and {len(weight)}", repr(k))
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    task = Task(
        operation=_OPERATION,
        plan=make_row_plan(hidden, weight, transform, tile),
        function=_MeanTop(k=k).function,
    )
    flat = hidden.reshape(rows.numel(), hidden.shape[-1])
    (mean,) = cast("tuple[Tensor]", RowTiles.apply(flat, weight, bias, rows.reshape(-1), task))
    return mean.reshape(rows.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _MeanTop:
    k: int

    def function(self, picked: Tensor, *constants: Any) -> "_MeanTop":
        return self

    def values(self, logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        return (torch.log_softmax(logits, dim=1).topk(self.k, dim=1, sorted=False).values.mean(1),)

    def logit_gradient(self, logits: Tensor, part: slice) -> Tensor:
        ids = logits.topk(self.k, dim=1, sorted=False).indices
        gradient = torch.softmax(logits, dim=1).neg_()
        return gradient.scatter_add_(1, ids, gradient.new_full(ids.shape, 1 / self.k))
