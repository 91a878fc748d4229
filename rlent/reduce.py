"""Collectives passed in as a value, so that a statistic over all ranks stays a pure function.

``LOCAL`` is the identity and makes every function testable on one process. ``distributed()`` reads the running
process group. Every collective must be entered by every rank, whatever its own data look like.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

Collective = Callable[[Tensor], Tensor]


def _identity(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduce:
    """Reductions over ranks; each returns a tensor of the shape it was given and leaves that one alone."""

    sum: Collective = _identity
    max: Collective = _identity
    min: Collective = _identity
    sum_below: Collective = torch.zeros_like
    """Sum over the ranks before this one: the offset of this rank's part of a global order."""
    rank: int = 0
    world_size: int = 1


LOCAL = Reduce()


def distributed(group: dist.ProcessGroup | None = None) -> Reduce:
    """Reductions over the process group, or ``LOCAL`` when there is one process."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size(group) == 1:
        return LOCAL
    rank, world_size = dist.get_rank(group), dist.get_world_size(group)

    def all_reduce(operation: dist.ReduceOp.RedOpType) -> Collective:
        def collective(value: Tensor) -> Tensor:
            result = value.detach().clone()
            dist.all_reduce(result, op=operation, group=group)
            return result

        return collective

    def sum_below(value: Tensor) -> Tensor:
        parts = [torch.empty_like(value) for _ in range(world_size)]
        dist.all_gather(parts, value.detach().contiguous(), group=group)
        return torch.stack(parts)[:rank].sum(dim=0).to(value.dtype)

    return Reduce(
        sum=all_reduce(dist.ReduceOp.SUM),
        max=all_reduce(dist.ReduceOp.MAX),
        min=all_reduce(dist.ReduceOp.MIN),
        sum_below=sum_below,
        rank=rank,
        world_size=world_size,
    )
