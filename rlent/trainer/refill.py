"""Other prompts in the place of groups that were given up, and rows that nobody trains on taken out.

A generation batch is TRL's: tensors and lists by name, one row per completion, whole groups in order.
"""

import random
from typing import Any

import torch
from torch import Tensor

from rlent.trainer.batches import Batch


class FreshPrompts:
    """Prompts from outside the data loader's order, in a seeded order of their own.

    Every rank draws its own part of one order, which is shuffled anew each time it has been used up.
    """

    def __init__(self, dataset: Any, *, seed: int, rank: int, world_size: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self.drawn = 0
        """Prompts that all ranks have drawn so far; what a resumed run must know."""

    def draw(self, count: int) -> list[dict[str, Any]]:
        """``count`` rows of the dataset for this rank; every rank must draw as many."""
        first = self.drawn + self._rank * count
        self.drawn += self._world_size * count
        return [self._dataset[self._index(place)] for place in range(first, first + count)]

    def _index(self, place: int) -> int:
        epoch, position = divmod(place, len(self._dataset))
        # A stream of its own: the data loader shuffles with the bare seed, and would be drawing the same prompts.
        stream = random.Random(f"fresh prompts {self._seed} {epoch}").getrandbits(63)
        order = torch.Generator().manual_seed(stream)
        return int(torch.randperm(len(self._dataset), generator=order)[position])


def empty_groups(keep: Tensor, size: int) -> Tensor:
    """Numbers of the groups of ``size`` rows of which no row is kept."""
    return (~keep.view(-1, size).any(dim=1)).nonzero().flatten()


def fill_groups(
    batch: Batch, keep: Tensor, fresh: Batch, usable: Tensor, *, size: int, pad_token: int
) -> tuple[Batch, Tensor]:
    """Put the groups of ``fresh`` that are ``usable`` into empty groups of ``batch``, in order.

    Returns:
        The batch, as wide as the wider of the two, and which of its rows are kept. Each row keeps its ``group`` number.
    """
    slots = empty_groups(keep, size)
    sources = usable.view(-1, size).any(dim=1).nonzero().flatten()
    count = min(len(slots), len(sources))
    into, source = (_rows(groups[:count], size) for groups in (slots, sources))
    filled = {
        name: _put(name, values, fresh.get(name), into, source, pad_token)
        for name, values in batch.items()
    }
    return filled, keep.index_copy(0, into, usable[source])


def _rows(groups: Tensor, size: int) -> Tensor:
    offsets = torch.arange(size, device=groups.device)
    return (groups.unsqueeze(1) * size + offsets).flatten()


def _put(name: str, old: Any, new: Any, into: Tensor, source: Tensor, pad_token: int) -> Any:
    if name == "group" or old is None or (isinstance(old, Tensor) and old.dim() == 0):
        return old
    if isinstance(old, list):
        result = list(old)
        for row, other in zip(into.tolist(), source.tolist(), strict=True):
            result[row] = new[other]
        return result
    if old.dim() == 2:
        width = max(old.size(1), new.size(1))
        value = pad_token if name in ("prompt_ids", "completion_ids") else 0
        left = name.startswith("prompt_")
        old, new = (_widen(values, width, value, left=left) for values in (old, new))
    return old.index_copy(0, into, new[source])


def _widen(values: Tensor, width: int, value: int, *, left: bool) -> Tensor:
    missing = width - values.size(1)
    return torch.nn.functional.pad(values, (missing, 0) if left else (0, missing), value=value)


def without_given_up(batch: Batch, keep: Tensor, parts: int) -> Batch:
    """The kept rows, and as few others as make their number a positive multiple of ``parts``.

    Rows that are not kept cost a forward pass and give nothing; the batch is split into ``parts`` equal micro-batches.
    """
    wanted = max(1, -(-int(keep.sum()) // parts)) * parts
    rows = torch.cat([keep.nonzero(), (~keep).nonzero()]).flatten()[:wanted].sort().values
    return {
        name: values[rows] if isinstance(values, Tensor) and values.dim() else values
        for name, values in batch.items()
    }
