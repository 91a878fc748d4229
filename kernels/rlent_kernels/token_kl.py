"""KL divergence of a linear head from a fixed one, exact over the vocabulary, in tiles of rows.

With logits z of the current head, p = softmax z and the reference's distribution q,

    reverse: KL(p || q) = sum_j p_j r_j,   r_j = log p_j - log q_j,   dKL/dz_j = p_j (r_j - KL)
    forward: KL(q || p) = -sum_j q_j r_j,                             dKL/dz_j = p_j - q_j.

A tile holds the logits of a few rows over the whole vocabulary, of both heads; backward computes
them again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from rlent_kernels.head_checks import check_heads, check_numbers, require
from rlent_kernels.plan import Plan
from rlent_kernels.row_tiles import Head, RowTiles, Task, make_row_plan
from rlent_kernels.transform import LogitTransform

_OPERATION = "token_kl"


def token_kl(
    hidden: Tensor,
    weight: Tensor,
    ref_hidden: Tensor,
    ref_weight: Tensor,
    rows: Tensor,
    *,
    direction: str = "reverse",
    bias: Tensor | None = None,
    ref_bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> Tensor:
    """KL(p || q) or KL(q || p), in nats over the full vocabulary, of two linear heads at the chosen rows.

    With u = logit_scale * (hidden weight^T + bias), capped to softcap * tanh(u / softcap) where a
    softcap is given, p = softmax(u / temperature), and q the same of the reference's tensors and
    the same three numbers:

        reverse: KL(p || q) = sum_j p_j (log p_j - log q_j)
        forward: KL(q || p) = sum_j q_j (log q_j - log p_j)

    Rows where ``rows`` is False are not computed: their result is 0, they send no gradient, and
    NaN or infinity in them reaches nothing. Differentiable in hidden, weight and bias, once; the
    reference is a constant. Gradients that are not needed, and those of rows whose incoming
    gradient is 0, are not computed.

    The value is never negative: a sum that rounding has left below 0 is returned as 0, which can
    only bring it closer to the truth. The gradient is not clamped. In float32 the values of two
    nearly equal heads were measured to be up to 1e-6 from the truth, so that smaller divergences
    are not resolved; their gradients are.

    A token of probability 0 under the first distribution adds 0 to the value. A token of
    probability 0 under the second alone makes the value infinite; in the reverse direction the
    gradient of such a row is not finite.

    Numbers: as in ``token_stats``, for each head by its own dtypes: logits, statistics and
    gradient sums are float32, or float64 when hidden is; operands are bfloat16 when hidden and
    weight both are or autocast to bfloat16 is on; gradients are in the dtype of their input.

    Memory beyond inputs and gradients: some five tensors of ``tile * v`` elements; a copy of the
    chosen rows, and of a weight whose dtype is not that of the products; in backward the sum
    ``[v d]`` of the weight's gradient, unless the weight is frozen.

    Args:
        hidden: ``[*n d]``, float32, float64, bfloat16 or float16.
        weight: ``[v d]``, any of these dtypes; float64, as everywhere, only where hidden and
            ref_hidden both are float64.
        ref_hidden: ``[*n e]``; its width may differ from that of hidden.
        ref_weight: ``[v e]``.
        rows: ``[*n]`` bool, the rows to compute. A GPU is synchronised once each in forward and
            backward to pick them.
        direction: ``"reverse"`` is KL(p || q), ``"forward"`` KL(q || p).
        bias: ``[v]``, or None.
        ref_bias: ``[v]``, or None.
        temperature: divides the logits.
        logit_scale: multiplies the raw logits, such as Cohere's ``logit_scale``.
        softcap: bound of the scaled logits, such as Gemma 2's ``final_logit_softcapping``.
        tile: rows of a tile; None picks about ``2**25 / v``.

    Returns:
        ``[*n]``, float32, or float64 when hidden is float64.

    Raises:
        ValueError: a shape, dtype, device or number is not as described.
        RuntimeError: in backward, when second derivatives are asked for.
    """
    require(
        _OPERATION,
        direction in _COMPARISONS,
        "direction",
        " or ".join(_COMPARISONS),
        repr(direction),
    )
    check_numbers(_OPERATION, temperature, logit_scale, softcap, tile)
    given = {
        "hidden": hidden,
        "weight": weight,
        "bias": bias,
        "ref_hidden": ref_hidden,
        "ref_weight": ref_weight,
        "ref_bias": ref_bias,
    }
    check_heads(_OPERATION, given, rows, ("ref_",))
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    task = Task(
        operation=_OPERATION,
        plan=make_row_plan(hidden, weight, transform, tile),
        function=partial(
            _divergence_from,
            make_row_plan(ref_hidden, ref_weight, transform, tile),
            _COMPARISONS[direction],
        ),
    )
    (result,) = cast(
        "tuple[Tensor]",
        RowTiles.apply(
            hidden.reshape(rows.numel(), hidden.shape[-1]),
            weight,
            bias,
            rows.reshape(-1),
            task,
            ref_hidden.detach().reshape(rows.numel(), ref_hidden.shape[-1]),
            ref_weight.detach(),
            None if ref_bias is None else ref_bias.detach(),
        ),
    )
    return result.reshape(rows.shape)


@runtime_checkable
class Fixed(Protocol):
    """A distribution that is a constant, at the picked rows."""

    def log_probs(self, part: slice) -> Tensor:
        """``[r v]``, as a tensor that may be overwritten."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Softmax:
    """The distribution of one head."""

    head: Head

    def log_probs(self, part: slice) -> Tensor:
        return torch.log_softmax(self.head.logits(part), dim=1)


@runtime_checkable
class Comparison(Protocol):
    """Two distributions at the rows of a tile; ``divergence`` is ``[r 1]``, as it was summed."""

    divergence: Tensor

    def logit_gradient(self) -> Tensor:
        """``dKL/dz [r v]``; what the comparison holds is overwritten."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """KL between the current head and a constant, as a function of the current logits."""

    fixed: Fixed
    compare: "Callable[[Tensor, Tensor], Comparison]"

    def values(self, logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        return (self._compared(logits, part).divergence[:, 0].clamp(min=0.0),)

    def logit_gradient(self, logits: Tensor, part: slice) -> Tensor:
        return self._compared(logits, part).logit_gradient()

    def _compared(self, logits: Tensor, part: slice) -> Comparison:
        return self.compare(torch.log_softmax(logits, dim=1), self.fixed.log_probs(part))


def _divergence_from(
    plan: Plan,
    compare: "Callable[[Tensor, Tensor], Comparison]",
    picked: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
) -> Divergence:
    return Divergence(
        fixed=_Softmax(head=Head.make(hidden[picked], weight, bias, plan)), compare=compare
    )


@dataclass(slots=True)
class Reverse:
    """KL(p || q).

    Attributes:
        p: ``[r v]`` probabilities of the current head.
        log_ratio: ``[r v]`` log p - log q; 0 where p is 0.
        divergence: ``[r 1]``.
    """

    p: Tensor
    log_ratio: Tensor
    divergence: Tensor

    @classmethod
    def of(cls, log_p: Tensor, log_q: Tensor) -> "Reverse":
        log_ratio = log_p - log_q
        p = log_p.exp_()
        # The limit of p log p at p = 0 is 0, where the product of a banned token is 0 * inf.
        log_ratio.masked_fill_(p == 0, 0.0)
        return cls(p=p, log_ratio=log_ratio, divergence=(p * log_ratio).sum(1, keepdim=True))

    def logit_gradient(self) -> Tensor:
        return self.log_ratio.sub_(self.divergence).mul_(self.p)


@dataclass(slots=True)
class Forward:
    """KL(q || p).

    Attributes:
        log_p: ``[r v]`` log-probabilities of the current head.
        q: ``[r v]`` probabilities of the constant.
        divergence: ``[r 1]``.
    """

    log_p: Tensor
    q: Tensor
    divergence: Tensor

    @classmethod
    def of(cls, log_p: Tensor, log_q: Tensor) -> "Forward":
        log_ratio = log_q - log_p
        q = log_q.exp_()
        log_ratio.masked_fill_(q == 0, 0.0)
        return cls(log_p=log_p, q=q, divergence=log_ratio.mul_(q).sum(1, keepdim=True))

    def logit_gradient(self) -> Tensor:
        return self.log_p.exp_().sub_(self.q)


_COMPARISONS: dict[str, Callable[[Tensor, Tensor], Comparison]] = {
    "reverse": Reverse.of,
    "forward": Forward.of,
}
