"""Exact top shares, quantiles and safe ratios under a mask, in pure torch.

A masked position may hold NaN or infinity, so every function fills it before arithmetic; multiplying by a zero mask
afterwards would turn NaN * 0 into NaN, forward or backward.
"""

import math
from fractions import Fraction

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.reduce import LOCAL, Reduce

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to this magnitude before exp: e^20 is far outside any clip bound and still finite."""
NO_BOUND = 2 * math.exp(MAX_LOG_RATIO)
"""Above every ratio, which is computed from a clamped log-ratio."""

_DIGIT_BITS = 8


def fill(values: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"], value: float = 0.0) -> Tensor:
    """``values`` where the mask holds, ``value`` elsewhere; masked positions receive no gradient."""
    return torch.where(mask, values, value)


def log_ratio(
    logp: Float[Tensor, "b t"], old_logp: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """``logp - old_logp``, 0 at masked positions. Not clamped: the gradient must survive far ratios."""
    return fill(logp, mask) - fill(old_logp, mask)


def safe_ratio(log_ratio: Float[Tensor, "*b #t"]) -> Float[Tensor, "*b #t"]:
    """``exp(log_ratio)`` without gradient, from a log-ratio clamped to ``MAX_LOG_RATIO``."""
    return log_ratio.detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def unit(log_ratio: Float[Tensor, "*b #t"]) -> Float[Tensor, "*b #t"]:
    """``exp(x - sg(x))``: exactly 1 in value, with the gradient of ``x``.

    ``sg(c) * unit(log_ratio)`` has value ``c`` and gradient ``c * grad logp``, and no division that could give 0/0.
    """
    return (log_ratio - log_ratio.detach()).exp()


def share_count(share: float, total: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """``ceil(share * total)`` in exact integer arithmetic.

    Floats would give ``ceil(0.2 * 15) = 4``. The share is read as the decimal that was typed.
    """
    fraction = _typed(share)
    return (total * fraction.numerator + fraction.denominator - 1) // fraction.denominator


def whole_count(share: float, total: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """``floor(share * total)`` in exact integer arithmetic."""
    fraction = _typed(share)
    return total * fraction.numerator // fraction.denominator


def top_share(
    values: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"], share: float, reduce: Reduce = LOCAL
) -> Bool[Tensor, "*s"]:
    """Choose exactly ``ceil(share * N)`` largest values of the ``N`` masked-in positions of all ranks."""
    return top_count(values, mask, share_count(share, reduce.sum(mask.sum())), reduce)


def top_count(
    values: Float[Tensor, "*s"],
    mask: Bool[Tensor, "*s"],
    count: Int[Tensor, ""],
    reduce: Reduce = LOCAL,
) -> Bool[Tensor, "*s"]:
    """Choose exactly ``count`` largest values of the masked-in positions of all ranks, or all if there are fewer.

    Ties are broken by position, lower ranks first. Radix selection on the bits of the values: the cost over ranks is
    one all-reduce of 256 counts for each byte of the dtype and two scalars, however many tokens there are.

    Args:
        count: the same number on every rank.
    """
    keys = _sortable_bits(fill(values.detach(), mask))
    remaining = count.minimum(reduce.sum(mask.sum()))
    candidates, chosen = mask.clone(), torch.zeros_like(mask)
    for digit in _digits(keys):
        counts = reduce.sum(torch.bincount(digit[candidates], minlength=1 << _DIGIT_BITS))
        at_least = counts.flip(0).cumsum(0).flip(0)
        cut = (at_least >= remaining).sum() - 1
        chosen |= candidates & (digit > cut)
        remaining = remaining - (at_least[cut] - counts[cut])
        candidates &= digit == cut
    offset = reduce.sum_below(candidates.sum())
    order = candidates.flatten().cumsum(0).view_as(candidates) + offset
    return chosen | (candidates & (order <= remaining))


def top_share_within(
    values: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    share: float,
    segment: Int[Tensor, " n"],
) -> Bool[Tensor, "n t"]:
    """In each segment (rows of one number) choose exactly ``ceil(share * N_segment)`` largest values.

    Ties are broken by position. Segments are whole on this rank, so no collective is needed.
    """
    segments = segment.unsqueeze(1).expand_as(mask)[mask]
    order = values.detach()[mask].argsort(descending=True, stable=True)
    order = order[segments[order].argsort(stable=True)]
    _, ids, sizes = segments[order].unique_consecutive(return_inverse=True, return_counts=True)
    first = sizes.cumsum(0) - sizes
    place = torch.arange(order.numel(), device=order.device) - first[ids]
    keep = torch.zeros_like(order, dtype=torch.bool)
    keep[order] = place < share_count(share, sizes)[ids]
    return torch.zeros_like(mask).masked_scatter(mask, keep)


def row_quantile(
    values: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"], share: float
) -> Float[Tensor, "b 1"]:
    """Quantile of each row where ``mask`` holds, linear between order statistics; 0 for a row without values.

    ``torch.nanquantile`` of the same, which refuses a batch without rows.
    """
    ordered = fill(values, mask, math.inf).sort(-1).values
    last = (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
    place = share * last.to(values.dtype)
    below = place.long()
    low, high = ordered.gather(1, below), ordered.gather(1, (below + 1).minimum(last))
    return fill(low + (place - below) * (high - low), mask.any(-1, keepdim=True))


def window_mean(
    values: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"], width: int, *, skip: int = 0
) -> tuple[Float[Tensor, "n t"], Int[Tensor, "n t"]]:
    """Mean of the values at ``t + skip`` to ``t + skip + width - 1`` where ``mask`` holds, and of how many it is.

    A window that the end of a row cuts short is the mean of what is left of it, and 0 of none.
    """

    def summed(terms: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(terms, (0, skip + width - 1))
        return padded[:, skip:].unfold(1, width, 1).sum(-1)

    size = summed(mask.long())
    return summed(fill(values, mask)) / size.clamp(min=1), size


def _typed(share: float) -> Fraction:
    return Fraction(repr(float(share))).limit_denominator(10**9)


def _sortable_bits(values: Float[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """Signed integers in the order of the floats, equal exactly where the floats are equal."""
    values = values if values.dtype == torch.float64 else values.float()
    integer = torch.int64 if values.dtype == torch.float64 else torch.int32
    bits = (values + 0.0).view(integer)  # + 0.0 turns -0.0 into 0.0, which must tie with it
    low_bits = torch.iinfo(integer).max
    return bits ^ ((bits >> (torch.iinfo(integer).bits - 1)) & low_bits)


def _digits(keys: Int[Tensor, "*s"]) -> list[Int[Tensor, "*s"]]:
    """The bytes of each key from the most significant down, each in 0..255 and in the keys' order."""
    base = 1 << _DIGIT_BITS
    shifts = range(torch.iinfo(keys.dtype).bits - _DIGIT_BITS, -1, -_DIGIT_BITS)
    bytes_ = [((keys >> shift) & (base - 1)).long() for shift in shifts]
    bytes_[0] = (bytes_[0] + base // 2) % base  # the top byte is signed
    return bytes_
