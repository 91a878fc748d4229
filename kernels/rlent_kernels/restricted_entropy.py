"""Entropy of the next-token distribution on its likeliest tokens alone, with its gradient, in tiles of rows.

With p = softmax z of a row, a set S of its most probable tokens, and q = p / sum_S p on S,

    H = -sum_{j in S} q_j log q_j,    dH/dz_j = -q_j (log q_j + H) on S, and 0 elsewhere.

S is a constant: where it changes, H jumps, and has no gradient.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from rlent_kernels.distribution import nuclei
from rlent_kernels.head_checks import check_heads, check_numbers, require
from rlent_kernels.plan import PANEL_BYTES
from rlent_kernels.row_tiles import RowTiles, Task, make_row_plan
from rlent_kernels.transform import LogitTransform

_OPERATION = "restricted_entropy"


def restricted_entropy(
    hidden: Tensor,
    weight: Tensor,
    rows: Tensor,
    *,
    top_p: float | None = None,
    top_k: int | None = None,
    crossing: bool = True,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> Tensor:
    """Entropy in nats of p restricted to its most probable tokens and normalised, at the chosen rows.

    The tokens are p's nucleus, the smallest set of most probable tokens whose mass reaches
    ``top_p``, or the ``top_k`` most probable ones. Equals at the border are in no particular
    order, and with them which of them have a gradient. Backward chooses the tokens again.

    The logits are those of ``token_stats``, the temperature included; precision, rows and
    gradients are as in ``token_kl`` with one head. A token of probability 0 adds 0 to value and
    gradient.

    Memory beyond inputs and gradients: some five tensors of ``tile * v`` elements, and what
    ``token_kl`` takes beside its tiles.

    Args:
        hidden: ``[*n d]``.
        weight: ``[v d]``.
        rows: ``[*n]`` bool, the rows to compute; the result is 0 at the others.
        top_p: mass of the nucleus, in (0, 1]; None where ``top_k`` is given.
        top_k: between 1 and v; None where ``top_p`` is given.
        crossing: False leaves the token with which the mass reaches ``top_p`` out of the nucleus,
            unless it is the only one.
        tile: rows of a tile; None picks as many as make 64 MiB of logits.

    Returns:
        ``[*n]``, differentiable once in hidden, weight and bias.

    Raises:
        ValueError: a shape, dtype, device or number is not as described.
        RuntimeError: in backward, when second derivatives are asked for.
    """
    check_numbers(_OPERATION, temperature, logit_scale, softcap, tile)
    check_heads(_OPERATION, {"hidden": hidden, "weight": weight, "bias": bias}, rows, ())
    chosen = _Restriction(top_p=top_p, top_k=top_k, crossing=crossing)
    chosen.check(len(weight))
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    task = Task(
        operation=_OPERATION,
        plan=make_row_plan(hidden, weight, transform, tile or _panel_rows(hidden, weight)),
        function=chosen.function,
    )
    flat = hidden.reshape(rows.numel(), hidden.shape[-1])
    (entropy,) = cast("tuple[Tensor]", RowTiles.apply(flat, weight, bias, rows.reshape(-1), task))
    return entropy.reshape(rows.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Restriction:
    """Which tokens are kept; the function of rows that ``RowTiles`` takes."""

    top_p: float | None
    top_k: int | None
    crossing: bool

    def check(self, vocabulary: int) -> None:
        given = f"top_p={self.top_p}, top_k={self.top_k}"
        one = (self.top_p is None) != (self.top_k is None)
        require(_OPERATION, one, "top_p", "one of top_p and top_k", given)
        if self.top_p is not None:
            expected = "a number in (0, 1]"
            require(_OPERATION, 0 < self.top_p <= 1, "top_p", expected, repr(self.top_p))
        if self.top_k is not None:
            expected = f"between 1 and {vocabulary}"
            held = 1 <= self.top_k <= vocabulary
            require(_OPERATION, held, "top_k", expected, repr(self.top_k))
            require(_OPERATION, self.crossing, "crossing", "True with top_k", "False")

    def function(self, picked: Tensor, *constants: Any) -> "_Restriction":
        return self

    def values(self, logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        q, log_q = self._restricted(logits)
        return (-(q * log_q).sum(1),)

    def logit_gradient(self, logits: Tensor, part: slice) -> Tensor:
        q, log_q = self._restricted(logits)
        entropy = -(q * log_q).sum(1, keepdim=True)
        return log_q.add_(entropy).mul_(q).neg_()

    def _restricted(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """q and log q ``[r v]``, both 0 outside the set."""
        log_q = torch.log_softmax(logits.masked_fill(~self._inside(logits), -torch.inf), dim=1)
        q = log_q.exp()
        # The limit of q log q at q = 0 is 0, where the product of an absent token is 0 * inf.
        return q, log_q.masked_fill_(q == 0, 0.0)

    def _inside(self, logits: Tensor) -> Tensor:
        """The tokens that are kept, bool ``[r v]``."""
        inside = torch.zeros_like(logits, dtype=torch.bool)
        if self.top_k is not None:
            return inside.scatter_(1, logits.topk(self.top_k, dim=1, sorted=False).indices, True)
        assert self.top_p is not None
        for nucleus in nuclei(torch.log_softmax(logits, dim=1), self.top_p, crossing=self.crossing):
            kept = torch.zeros_like(inside[nucleus.rows])
            inside[nucleus.rows] = kept.scatter_(1, nucleus.ids, nucleus.inside)
        return inside


def _panel_rows(hidden: Tensor, weight: Tensor) -> int:
    itemsize = 8 if hidden.dtype == torch.float64 else 4
    return max(1, PANEL_BYTES // (len(weight) * itemsize))
