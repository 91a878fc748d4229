"""Ranks of a test in one process: threads whose collectives meet at a barrier; real processes are in distributed/."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlent.reduce import Reduce


def on_ranks(parts: list[Any], work: Callable[[Any, Reduce], Any]) -> list[Any]:
    """``work`` on every part at the same time, one rank for each."""
    barrier = threading.Barrier(len(parts), timeout=20)
    slots: list[Tensor] = [torch.empty(0)] * len(parts)
    results: list[Any] = [None] * len(parts)

    def run(rank: int) -> None:
        def meet(value: Tensor) -> Tensor:
            slots[rank] = value
            barrier.wait()
            gathered = torch.stack(slots)
            barrier.wait()
            return gathered

        reduce = Reduce(
            sum=lambda v: meet(v).sum(0),
            max=lambda v: meet(v).amax(0),
            min=lambda v: meet(v).amin(0),
            sum_below=lambda v: meet(v)[:rank].sum(0),
            rank=rank,
            world_size=len(parts),
        )
        try:
            results[rank] = work(parts[rank], reduce)
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
