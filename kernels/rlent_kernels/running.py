"""Statistics of a softmax from one pass over the vocabulary in tiles.

For every row: the maximum m of the logits seen so far and sums over e_j = e^(z_j - m),

    total = sum e_j                     moment = sum e_j x_j           x_j = z_j - m,

from which logsumexp z = m + log total and H = log total - moment / total. When m grows, with
d = m_old - m_new, the sums are brought to the new maximum: x_j becomes x_j + d and e_j becomes
e^d e_j. This is the online softmax of Milakov and Gimelshein (2018), algorithm 3, with the moment
carried along. The further statistics need

    second = sum e_j x_j^2     squares = sum e_j^2     square_moment = sum e_j^2 x_j     plain = sum z_j.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

# e to this power is exactly 0 in float32 and float64. Exponents are clamped here so that a banned
# token, whose logit is -inf, gives 0 * finite and not 0 * inf.
LOG_ZERO = -1.0e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Further:
    """Sums ``[k]`` for the statistics that are asked for by name, updated in place."""

    second: Tensor
    squares: Tensor
    square_moment: Tensor
    plain: Tensor
    argmax: Tensor

    @classmethod
    def start(cls, rows: int, like: Tensor, dtype: torch.dtype) -> "Further":
        second, squares, square_moment, plain = like.new_zeros((4, rows), dtype=dtype)
        return cls(
            second=second,
            squares=squares,
            square_moment=square_moment,
            plain=plain,
            argmax=like.new_zeros(rows, dtype=torch.int64),
        )

    def __getitem__(self, part: slice) -> "Further":
        return Further(**{field.name: getattr(self, field.name)[part] for field in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Statistics ``[k]`` of the vocabulary seen so far, updated in place."""

    maximum: Tensor
    total: Tensor
    moment: Tensor
    target: Tensor
    further: Further | None

    @classmethod
    def start(cls, rows: int, like: Tensor, dtype: torch.dtype, further: bool) -> "Running":
        """Statistics of nothing, on the device of ``like``."""
        maximum, total, moment, target = like.new_zeros((4, rows), dtype=dtype)
        # The lowest finite number and not -inf: the step between two maxima then stays a number
        # where every token seen so far is banned.
        maximum.fill_(torch.finfo(dtype).min)
        return cls(
            maximum=maximum,
            total=total,
            moment=moment,
            target=target,
            further=Further.start(rows, like, dtype) if further else None,
        )

    def __getitem__(self, part: slice) -> "Running":
        return Running(
            maximum=self.maximum[part],
            total=self.total[part],
            moment=self.moment[part],
            target=self.target[part],
            further=None if self.further is None else self.further[part],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Statistics ``[k]`` of the whole vocabulary."""

    log_probs: Tensor
    entropy: Tensor
    logsumexp: Tensor


def finish(running: Running) -> Finished:
    """Log-probability of the target, entropy and logsumexp from the sums over the vocabulary."""
    log_total = running.total.log()
    return Finished(
        # In this order small log-probabilities of large logits keep their digits.
        log_probs=(running.target - running.maximum) - log_total,
        entropy=log_total - running.moment / running.total,
        logsumexp=running.maximum + log_total,
    )


def finish_further(
    running: Running, targets: Tensor, vocabulary: int, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """The statistics ``names`` ``[k]``; see ``TokenStats`` for their definitions."""
    if running.further is None:
        return {}
    done, sums = finish(running), running.further
    log_total, mean = running.total.log(), running.moment / running.total
    # sum p_j^2 and sum p_j^2 log p_j
    squares = sums.squares / running.total.square()
    log_squares = sums.square_moment / running.total.square() - log_total * squares
    p = done.log_probs.exp()
    surprise = (done.log_probs.clamp(min=LOG_ZERO) + done.entropy) * p
    available = {
        "logsumexp": done.logsumexp,
        "varentropy": (sums.second / running.total - mean.square()).clamp(min=0.0),
        "log_sum_sq_probs": squares.log(),
        "mean_logits": sums.plain / vocabulary,
        "entropy_change": surprise - log_squares - done.entropy * squares,
        "argmax": sums.argmax,
        "is_top1": sums.argmax == targets,
    }
    return {name: available[name] for name in names}
