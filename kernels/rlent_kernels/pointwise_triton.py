"""What is done to each logit of a tile, one Triton kernel for each of the two passes.

A program takes one row in forward and a block of a row in backward: a tile is read once from the
cache that its product has left it in, and in backward written once, in the dtype that the next
products read. See ``pointwise_torch`` for the contract, ``running`` and ``cotangents`` for the
maths.
"""

# A kernel is compiled, not run: what it assigns under a constexpr condition it reads under the same.
# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false, reportOperatorIssue=false

import triton
import triton.language as tl
from torch import Tensor

from rlent_kernels.cotangents import Cotangents
from rlent_kernels.plan import Plan
from rlent_kernels.running import Running
from rlent_kernels.transform import LogitTransform

_BLOCK = 1024


def absorb(
    u: Tensor,
    running: Running,
    targets: Tensor,
    start: int,
    transform: LogitTransform,
    spare: Tensor,
) -> None:
    """Take a tile into the statistics ``running`` of its rows; ``spare`` is not touched."""
    sums, further = running.further, running.further is not None
    _absorb[(u.shape[0],)](
        u,
        targets,
        running.maximum,
        running.total,
        running.moment,
        running.target,
        *(
            (sums.second, sums.squares, sums.square_moment, sums.plain, sums.argmax)
            if sums is not None
            else (u, u, u, u, u)
        ),
        u.stride(0),
        u.shape[1],
        start,
        transform.cap or 0.0,
        CAPPED=transform.cap is not None,
        FURTHER=further,
        BLOCK=_block(u.shape[1]),
    )


def logit_gradient(u: Tensor, rows: Cotangents, start: int, plan: Plan, spare: Tensor) -> Tensor:
    """``dL/draw [r c]`` of a tile, in ``spare``, in the dtype that products read."""
    transform, dtype = plan.transform, plan.precision.stored(u)
    gradient = spare[0].view(dtype)[:, : u.shape[1]]
    block = _block(u.shape[1])
    _logit_gradient[(u.shape[0], triton.cdiv(u.shape[1], block))](
        u,
        gradient,
        rows.targets,
        rows.logsumexp,
        rows.target,
        rows.constant if rows.entropy is None else rows.entropy,
        rows.constant,
        u.stride(0),
        gradient.stride(0),
        u.shape[1],
        start,
        transform.cap or 0.0,
        CAPPED=transform.cap is not None,
        ENTROPY=rows.entropy is not None,
        BLOCK=block,
    )
    return gradient


def _block(width: int) -> int:
    return min(_BLOCK, triton.next_power_of_2(width))


@triton.jit
def _bend(u, cap, CAPPED: tl.constexpr):
    if CAPPED:
        # tanh u = 1 - 2 / (e^(2u) + 1), which does not overflow into NaN.
        return cap * (1.0 - 2.0 / (tl.exp(2.0 * u) + 1.0))
    return u


@triton.jit
def _absorb(
    u_at,
    targets_at,
    maximum_at,
    total_at,
    moment_at,
    target_at,
    second_at,
    squares_at,
    square_moment_at,
    plain_at,
    argmax_at,
    stride,
    width,
    start,
    cap,
    CAPPED: tl.constexpr,
    FURTHER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    maximum = tl.load(maximum_at + row)
    total = tl.load(total_at + row)
    moment = tl.load(moment_at + row)
    if FURTHER:
        second = tl.load(second_at + row)
        squares = tl.load(squares_at + row)
        square_moment = tl.load(square_moment_at + row)
        plain = tl.load(plain_at + row)
        argmax = tl.load(argmax_at + row)
    for first in range(0, width, BLOCK):
        column = first + tl.arange(0, BLOCK)
        real = column < width
        z = _bend(tl.load(u_at + row * stride + column, mask=real, other=0.0), cap, CAPPED)
        z = tl.where(real, z, float("-inf"))
        highest = tl.maximum(maximum, tl.max(z, 0))
        x = tl.maximum(z - highest, -1.0e4)
        e = tl.where(real, tl.exp(x), 0.0)
        step = tl.maximum(maximum - highest, -1.0e4)
        shrink = tl.exp(step)
        if FURTHER:
            second = shrink * (second + 2.0 * step * moment + step * step * total)
            second += tl.sum(e * x * x, 0)
            square_moment = shrink * shrink * (square_moment + step * squares)
            square_moment += tl.sum(e * e * x, 0)
            squares = shrink * shrink * squares + tl.sum(e * e, 0)
            plain += tl.sum(tl.where(real, z, 0.0), 0)
            if highest > maximum:
                place = tl.min(tl.where(z == highest, column, width), 0)
                argmax = (place + start).to(tl.int64)
        moment = shrink * (moment + step * total) + tl.sum(e * x, 0)
        total = shrink * total + tl.sum(e, 0)
        maximum = highest
    tl.store(maximum_at + row, maximum)
    tl.store(total_at + row, total)
    tl.store(moment_at + row, moment)
    if FURTHER:
        tl.store(second_at + row, second)
        tl.store(squares_at + row, squares)
        tl.store(square_moment_at + row, square_moment)
        tl.store(plain_at + row, plain)
        tl.store(argmax_at + row, argmax)
    target = tl.load(targets_at + row) - start
    if (target >= 0) & (target < width):
        tl.store(target_at + row, _bend(tl.load(u_at + row * stride + target), cap, CAPPED))


@triton.jit
def _logit_gradient(
    u_at,
    gradient_at,
    targets_at,
    logsumexp_at,
    target_at,
    entropy_at,
    constant_at,
    u_stride,
    gradient_stride,
    width,
    start,
    cap,
    CAPPED: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = column < width
    z = _bend(tl.load(u_at + row * u_stride + column, mask=real, other=0.0), cap, CAPPED)
    log_p = tl.maximum(z - tl.load(logsumexp_at + row), -1.0e4)
    factor = tl.load(constant_at + row)
    if ENTROPY:
        factor += tl.load(entropy_at + row) * log_p
    gradient = factor * tl.exp(log_p)
    target = tl.load(targets_at + row) - start
    gradient += tl.where(column == target, tl.load(target_at + row), 0.0)
    if CAPPED:
        tanh = z / cap
        gradient *= 1.0 - tanh * tanh
    tl.store(gradient_at + row * gradient_stride + column, gradient, mask=real)
