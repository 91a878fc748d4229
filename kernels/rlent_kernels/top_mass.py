"""Probability of the likeliest tokens beside the target, with its gradient, in tiles of rows.

With p = softmax z of a row, target x and the set K of the k most probable tokens,

    m = sum_{j in K, j != x} p_j,    dm/dz_j = p_j (1[j in K, j != x] - m).

K is a constant: where it changes, m has a kink that has no gradient.
"""

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from rlent_kernels.head_checks import check_heads, check_numbers, require
from rlent_kernels.row_tiles import RowTiles, Task, make_row_plan
from rlent_kernels.transform import LogitTransform
from rlent_kernels.types import IGNORE_INDEX

_OPERATION = "top_mass"


def top_mass(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    k: int,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> Tensor:
    """Probability of the ``k`` most probable tokens, without the target where it is one of them.

    The logits are those of ``token_stats``; precision, rows, gradients and memory are as in
    ``token_kl`` with one head. Equal logits at the border of the ``k`` are in no particular order.

    Args:
        hidden: ``[*n d]``.
        weight: ``[v d]``.
        targets: ``[*n]`` int64, each in ``[0, v)``, or -100 where nothing is computed.
        k: between 1 and v.

    Returns:
        ``[*n]``, differentiable once in hidden, weight and bias; 0 where nothing is computed.

    Raises:
        ValueError: a shape, dtype, device, number or target is not as described.
        RuntimeError: in backward, when second derivatives are asked for.
    """
    rows = targets != IGNORE_INDEX
    check_numbers(_OPERATION, temperature, logit_scale, softcap, tile)
    check_heads(_OPERATION, {"hidden": hidden, "weight": weight, "bias": bias}, rows, ())
    vocabulary = len(weight)
    require(_OPERATION, 1 <= k <= vocabulary, "k", f"between 1 and {vocabulary}", repr(k))
    known = bool(((targets >= 0) & (targets < vocabulary) | ~rows).all())
    require(_OPERATION, known, "targets", f"ids below {vocabulary}, or -100", "others")
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    task = Task(
        operation=_OPERATION,
        plan=make_row_plan(hidden, weight, transform, tile),
        function=partial(_function, k),
    )
    (mass,) = cast(
        "tuple[Tensor]",
        RowTiles.apply(
            hidden.reshape(rows.numel(), hidden.shape[-1]),
            weight,
            bias,
            rows.reshape(-1),
            task,
            targets.reshape(-1),
        ),
    )
    return mass.reshape(rows.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _TopMass:
    k: int
    targets: Tensor

    def values(self, logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        p = torch.softmax(logits, dim=1)
        ids, wanted = self._top(logits, part)
        return ((p.gather(1, ids) * wanted).sum(1),)

    def logit_gradient(self, logits: Tensor, part: slice) -> Tensor:
        p = torch.softmax(logits, dim=1)
        ids, wanted = self._top(logits, part)
        chosen = p.gather(1, ids) * wanted
        gradient = p.mul_(-chosen.sum(1, keepdim=True))
        return gradient.scatter_add_(1, ids, chosen)

    def _top(self, logits: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Ids ``[r k]`` of the most probable tokens, and 0 for the target, 1 for the others."""
        ids = logits.topk(self.k, dim=1).indices
        return ids, (ids != self.targets[part, None]).to(logits.dtype)


def _function(k: int, picked: Tensor, targets: Tensor) -> _TopMass:
    return _TopMass(k=k, targets=targets[picked])
