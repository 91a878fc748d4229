"""KL divergence between the next-token distributions of two linear heads, in tiles of rows.

With logits z of the current head, p = softmax z and the reference's distribution q,

    KL(p || q) = sum_j p_j r_j,    r_j = log p_j - log q_j,
    dKL/dz_j   = p_j (r_j - KL).

A tile holds the logits of a few rows over the whole vocabulary, of both heads; backward computes
them again.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlent_kernels.plan import Columns, Plan
from rlent_kernels.precision import choose_precision
from rlent_kernels.rows import indices
from rlent_kernels.transform import LogitTransform

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

# Logits of one head in a tile: 220 rows of a vocabulary of 152k, 128 MiB in float32.
_TILE_LOGITS = 2**25


def token_kl(
    hidden: Tensor,
    weight: Tensor,
    ref_hidden: Tensor,
    ref_weight: Tensor,
    rows: Tensor,
    *,
    bias: Tensor | None = None,
    ref_bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> Tensor:
    """KL(p || q), in nats over the full vocabulary, of two linear heads at the chosen rows.

    With u = logit_scale * (hidden weight^T + bias), capped to softcap * tanh(u / softcap) where a
    softcap is given, p = softmax(u / temperature), and q the same of the reference's tensors and
    the same three numbers:

        KL(p || q) = sum_j p_j (log p_j - log q_j)

    Rows where ``rows`` is False are not computed: their result is 0, they send no gradient, and
    NaN or infinity in them reaches nothing. Differentiable in hidden, weight and bias, once; the
    reference is a constant. Gradients that are not needed, and those of rows whose incoming
    gradient is 0, are not computed.

    The value is never negative: a sum that rounding has left below 0 is returned as 0, which can
    only bring it closer to the truth. The gradient is not clamped. In float32 the values of two
    nearly equal heads were measured to be up to 1e-6 from the truth, so that smaller divergences
    are not resolved; their gradients are.

    A token of probability 0 under p adds 0 to value and gradient. A token of probability 0 under
    q alone makes the value infinite; the gradient of such a row is not finite.

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
    _check_numbers(temperature, logit_scale, softcap, tile)
    _check_tensors(
        {
            "hidden": hidden,
            "weight": weight,
            "bias": bias,
            "ref_hidden": ref_hidden,
            "ref_weight": ref_weight,
            "ref_bias": ref_bias,
        },
        rows,
    )
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    result = _TokenKL.apply(
        hidden.reshape(rows.numel(), hidden.shape[-1]),
        weight,
        bias,
        ref_hidden.detach().reshape(rows.numel(), ref_hidden.shape[-1]),
        ref_weight.detach(),
        None if ref_bias is None else ref_bias.detach(),
        rows.reshape(-1),
        _make_plan(hidden, weight, transform, tile),
        _make_plan(ref_hidden, ref_weight, transform, tile),
    )
    return result.reshape(rows.shape)


class _TokenKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ref_hidden: Tensor,
        ref_weight: Tensor,
        ref_bias: Tensor | None,
        rows: Tensor,
        plan: Plan,
        ref_plan: Plan,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias, ref_hidden, ref_weight, ref_bias, rows)
        ctx.plans = plan, ref_plan
        result = torch.zeros_like(rows, dtype=plan.precision.result)
        picked = indices(rows)
        if picked.numel():
            current = _Head.make(hidden[picked], weight, bias, plan)
            reference = _Head.make(ref_hidden[picked], ref_weight, ref_bias, ref_plan)
            for part in plan.row_spans(picked.numel()):
                compared = _Comparison.of(current.logits(part), reference.logits(part))
                result[picked[part]] = compared.divergence[:, 0].clamp(min=0.0)
        return result

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        # torch's once_differentiable lets hidden and weight through in silence: it refuses only
        # where the cotangent itself requires a gradient.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "token_kl: differentiable once; create_graph=True asks for second derivatives"
            )
        (cotangent,) = cotangents
        hidden, weight, bias, ref_hidden, ref_weight, ref_bias, rows = ctx.saved_tensors
        plan, ref_plan = ctx.plans
        picked = indices(rows & (cotangent != 0))
        sums = _Sums.zeros(picked.numel(), weight, ctx.needs_input_grad, plan.precision.result)
        if picked.numel():
            current = _Head.make(hidden[picked], weight, bias, plan)
            reference = _Head.make(ref_hidden[picked], ref_weight, ref_bias, ref_plan)
            for part in plan.row_spans(picked.numel()):
                logits = current.logits(part)
                gradient = _Comparison.of(logits, reference.logits(part)).logit_gradient()
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
        return grad_hidden, grad_weight, grad_bias, *[None] * 6


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """One head at ``k`` rows: ``hidden [k d]``, cast for products, and the whole vocabulary."""

    hidden: Tensor
    columns: Columns
    plan: Plan

    @classmethod
    def make(cls, hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan) -> "_Head":
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
class _Comparison:
    """Two distributions at the rows of a tile.

    Attributes:
        p: ``[r v]`` probabilities of the current head.
        log_ratio: ``[r v]`` log p - log q; 0 where p is 0.
        divergence: ``[r 1]`` KL(p || q), as it was summed.
    """

    p: Tensor
    log_ratio: Tensor
    divergence: Tensor

    @classmethod
    def of(cls, logits: Tensor, ref_logits: Tensor) -> "_Comparison":
        log_p = torch.log_softmax(logits, dim=1)
        log_ratio = log_p - torch.log_softmax(ref_logits, dim=1)
        p = log_p.exp_()
        # The limit of p log p at p = 0 is 0, where the product of a banned token is 0 * inf.
        log_ratio.masked_fill_(p == 0, 0.0)
        return cls(p=p, log_ratio=log_ratio, divergence=(p * log_ratio).sum(1, keepdim=True))

    def logit_gradient(self) -> Tensor:
        """``dKL/dz [r v]``; ``log_ratio`` is overwritten."""
        return self.log_ratio.sub_(self.divergence).mul_(self.p)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """Gradients ``hidden [k d]``, ``weight [v d]`` and ``bias [v]`` under accumulation, in the
    result dtype; None where autograd asks for none."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(
        cls, rows: int, weight: Tensor, needed: tuple[bool, ...], dtype: torch.dtype
    ) -> "_Sums":
        shapes = ((rows, weight.shape[1]), tuple(weight.shape), (weight.shape[0],))
        hidden, matrix, bias = (
            weight.new_zeros(shape, dtype=dtype) if need else None
            for shape, need in zip(shapes, needed[:3], strict=True)
        )
        return cls(hidden=hidden, weight=matrix, bias=bias)

    def add(self, part: slice, gradient: Tensor, head: _Head) -> None:
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


def _make_plan(hidden: Tensor, weight: Tensor, transform: LogitTransform, tile: int | None) -> Plan:
    vocabulary = weight.shape[0]
    return Plan(
        transform=transform,
        precision=choose_precision(hidden, weight),
        row_tile=max(1, _TILE_LOGITS // vocabulary) if tile is None else tile,
        column_tile=vocabulary,
    )


def _check_numbers(
    temperature: float, logit_scale: float, softcap: float | None, tile: int | None
) -> None:
    numbers = {"temperature": temperature, "logit_scale": logit_scale, "softcap": softcap}
    for name, number in numbers.items():
        valid = number is None or (math.isfinite(number) and number > 0)
        _require(valid, name, "a finite number > 0", repr(number))
    _require(tile is None or tile >= 1, "tile", "an integer >= 1, rows", repr(tile))


def _check_tensors(given: dict[str, Tensor | None], rows: Tensor) -> None:
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    _check_dtypes(tensors, rows)
    _check_shapes(tensors, rows, "")
    _check_shapes(tensors, rows, "ref_")
    device = tensors["hidden"].device
    for name, tensor in {**tensors, "rows": rows}.items():
        expected = f"on {device}, the device of hidden"
        _require(tensor.device == device, name, expected, str(tensor.device))


def _check_dtypes(tensors: dict[str, Tensor], rows: Tensor) -> None:
    floats = ", ".join(map(str, _FLOATS))
    double = tensors["hidden"].dtype == tensors["ref_hidden"].dtype == torch.float64
    for name, tensor in tensors.items():
        dtype = tensor.dtype
        _require(dtype in _FLOATS, name, f"dtype one of {floats}", str(dtype))
        expected = "less than float64 where hidden and ref_hidden are not both float64"
        _require(double or dtype != torch.float64, name, expected, str(dtype))
    _require(rows.dtype == torch.bool, "rows", "dtype torch.bool", str(rows.dtype))


def _check_shapes(tensors: dict[str, Tensor], rows: Tensor, prefix: str) -> None:
    """Shapes of one head; the vocabulary is that of ``weight`` for both."""
    names = [f"{prefix}{name}" for name in ("hidden", "weight", "bias")]
    hidden, weight, bias = tensors[names[0]], tensors[names[1]], tensors.get(names[2])
    _require(
        hidden.ndim > 0 and hidden.shape[:-1] == rows.shape,
        names[0],
        f"shape {[*rows.shape, 'd']}, that of rows with one more axis",
        _shape(hidden),
    )
    width, vocabulary = hidden.shape[-1], tensors["weight"].shape[:1]
    _require(
        weight.ndim == 2 and weight.shape[0] >= 1 and weight.shape[1] == width,
        names[1],
        f"shape [v, {width}] with v >= 1 and the width {width} of {names[0]}",
        _shape(weight),
    )
    _require(
        weight.shape[:1] == vocabulary,
        names[1],
        f"shape {[*vocabulary, width]}, one vocabulary for both heads",
        _shape(weight),
    )
    _require(
        bias is None or bias.shape == vocabulary,
        names[2],
        f"shape {list(vocabulary)}, one per row of {names[1]}",
        "" if bias is None else _shape(bias),
    )


def _shape(tensor: Tensor) -> str:
    return f"shape {list(tensor.shape)}"


def _require(holds: bool, name: str, expected: str, given: str) -> None:
    if not holds:
        raise ValueError(f"token_kl: {name}: expected {expected}; got {given}")
