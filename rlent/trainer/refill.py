"""Other prompts in the place of groups that were given up, and rows that nobody trains on taken out.

A generation batch is TRL's: tensors and lists by name, one row per completion, whole groups in order.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlent.reduce import Reduce
from rlent.trainer.batches import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What this rank generates of a round's groups.

    Group ``k`` of a round, counted over all ranks, is for the ``k``-th empty place, so that nothing depends on how the
    places lie on ranks. Collectives need as many rows of every rank: those with less to fill generate for nothing.
    """

    below: int
    """Groups of the ranks before this one."""
    own: int
    most: int
    """Groups that each rank generates: as many as the one with most to fill."""
    total: int

    @classmethod
    def of(cls, groups: Tensor, reduce: Reduce) -> "Share":
        """The share of a rank with ``groups`` (a number) to fill. A collective."""
        numbers = (reduce.sum_below(groups), groups, reduce.max(groups), reduce.sum(groups))
        below, own, most, total = (int(number) for number in numbers)
        return cls(below=below, own=own, most=most, total=total)


class FreshPrompts:
    """Prompts from outside the data loader's order, in a seeded order of their own.

    All ranks draw from one order, which is shuffled anew each time it has been used up.
    """

    def __init__(self, dataset: Any, *, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self.drawn = 0
        """Prompts that all ranks have drawn so far; what a resumed run must know."""

    def draw(self, share: Share) -> list[dict[str, Any]]:
        """A row of the dataset for each of the ``most`` groups; behind the rank's own ones, the last again."""
        first, last = self.drawn + share.below, self.drawn + share.total - 1
        self.drawn += share.total
        places = [*range(first, first + share.own), *[last] * (share.most - share.own)]
        return [self._dataset[self._index(place)] for place in places]

    def _index(self, place: int) -> int:
        epoch, position = divmod(place, len(self._dataset))
        # A stream of its own: the data loader shuffles with the bare seed, and would be drawing the same prompts.
        stream = random.Random(f"fresh prompts {self._seed} {epoch}").getrandbits(63)
        order = torch.Generator().manual_seed(stream)
        return int(torch.randperm(len(self._dataset), generator=order)[position])


Generate = Callable[[list[dict[str, Any]], Share], tuple[Batch, Tensor]]
"""Rows of the dataset, one per completion, to their generation batch and which of its rows can be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refill:
    """Generates from other prompts until no group is empty on any rank, or the rounds are used up."""

    prompts: FreshPrompts | None
    """None only where there are no rounds."""
    rounds: int
    size: int
    """Completions of a group."""
    pad_token: int
    reduce: Reduce

    def __call__(self, batch: Batch, keep: Tensor, generate: Generate) -> tuple[Batch, Tensor, int]:
        """The batch, which of its rows are kept, and the number of rounds. A collective."""
        for done in range(self.rounds):
            missing = torch.tensor(len(empty_groups(keep, self.size)), device=keep.device)
            share = Share.of(missing, self.reduce)
            if share.total == 0:
                return batch, keep, done
            assert self.prompts is not None
            rows = [dict(row) for row in self.prompts.draw(share) for _ in range(self.size)]
            fresh, usable = generate(rows, share)
            batch, keep = fill_groups(
                batch, keep, fresh, usable, size=self.size, pad_token=self.pad_token
            )
        return batch, keep, self.rounds


def empty_groups(keep: Tensor, size: int) -> Tensor:
    """Numbers of the groups of ``size`` rows of which no row is kept."""
    return (~keep.view(-1, size).any(dim=1)).nonzero().flatten()


def fill_groups(
    batch: Batch, keep: Tensor, fresh: Batch, usable: Tensor, *, size: int, pad_token: int
) -> tuple[Batch, Tensor]:
    """Put each group of ``fresh`` that is ``usable`` into its empty group of ``batch``: the k-th into the k-th.

    Returns:
        The batch, as wide as the wider of the two, and which of its rows are kept. Each row keeps its ``group`` number.
    """
    slots = empty_groups(keep, size)
    whole = usable.view(-1, size).any(dim=1)[: len(slots)].nonzero().flatten()
    into, source = (_rows(groups, size) for groups in (slots[whole], whole))
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
