"""What is done to each logit of a tile, in torch operators, on any device.

``absorb`` and ``logit_gradient`` here and in ``pointwise_triton`` are the same two functions. They
read u (see ``LogitTransform``) of a tile ``[r c]`` that starts at ``start`` of the vocabulary and
leave it as it is.
"""

import torch
from torch import Tensor

from rlent_kernels.cotangents import Cotangents
from rlent_kernels.plan import Plan
from rlent_kernels.running import LOG_ZERO, Further, Running
from rlent_kernels.transform import LogitTransform


def absorb(
    u: Tensor,
    running: Running,
    targets: Tensor,
    start: int,
    transform: LogitTransform,
    spare: Tensor,
) -> None:
    """Take a tile into the statistics ``running`` of its rows.

    Args:
        targets: ``[r]`` ids, some of them in this tile.
        spare: ``[2 r c]``, overwritten.
    """
    z = transform.bend(u)
    index, inside = _locate(targets, start, u.shape[1])
    running.target.add_(z.gather(1, index)[:, 0].where(inside, 0.0))
    maximum = torch.maximum(running.maximum, z.amax(1))
    x = torch.sub(z, maximum[:, None], out=spare[0]).clamp_(min=LOG_ZERO)
    e = torch.exp(x, out=spare[1])
    step = (running.maximum - maximum).clamp_(min=LOG_ZERO)
    if running.further is not None:
        _absorb_further(running, running.further, z, x, e, step)
        # Asked for apart from the maximum: to find both at once takes ten times as long.
        place = z.argmax(1) + start
        running.further.argmax.copy_(
            torch.where(maximum > running.maximum, place, running.further.argmax)
        )
    shrink = step.exp()
    moment = running.moment + step * running.total
    total = shrink * running.total + e.sum(1)
    running.moment.copy_(shrink * moment + e.mul_(x).sum(1))
    running.total.copy_(total)
    running.maximum.copy_(maximum)


def _absorb_further(
    running: Running, sums: Further, z: Tensor, x: Tensor, e: Tensor, step: Tensor
) -> None:
    shrink, moments = step.exp(), e * x
    second = sums.second + 2 * step * running.moment + step.square() * running.total
    square_moment = sums.square_moment + step * sums.squares
    sums.second.copy_(shrink * second + (moments * x).sum(1))
    sums.square_moment.copy_(shrink.square() * square_moment + (moments * e).sum(1))
    sums.squares.copy_(shrink.square() * sums.squares + e.square().sum(1))
    sums.plain.add_(z.sum(1))


def logit_gradient(u: Tensor, rows: Cotangents, start: int, plan: Plan, spare: Tensor) -> Tensor:
    """``dL/draw [r c]`` of a tile, in ``spare``; see ``Cotangents`` for the formula.

    Args:
        spare: ``[2 r c]``, overwritten.
    """
    assert rows.logsumexp is not None
    z = plan.transform.bend(u)
    log_p = torch.sub(z, rows.logsumexp[:, None], out=spare[0]).clamp_(min=LOG_ZERO)
    p = torch.exp(log_p, out=spare[1])
    if rows.entropy is None:
        gradient = p.mul_(rows.constant[:, None])
    else:
        gradient = log_p.mul_(rows.entropy[:, None]).add_(rows.constant[:, None]).mul_(p)
    index, inside = _locate(rows.targets, start, u.shape[1])
    gradient.scatter_add_(1, index, rows.target.where(inside, 0.0)[:, None])
    return gradient if plan.transform.cap is None else gradient.mul_(plan.transform.flattening(z))


def _locate(targets: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """``(index [r 1], inside [r])`` of targets in a tile.

    The index is a valid one also where ``inside`` is False: to pick rows instead would synchronise
    a GPU once per tile.
    """
    index = targets - start
    inside = (index >= 0) & (index < width)
    return index.clamp(0, width - 1)[:, None], inside
