"""The order of the prompts, as a function of the epoch."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler
from trl.trainer.utils import RepeatSampler


class EpochOrder(Sampler):
    """TRL's order of prompts in a run that was not stopped, also in one that goes on in a later epoch.

    TRL's sampler draws the order of an epoch from a generator that has drawn those of the epochs before; that of a
    resumed run has drawn none. Here the order of epoch ``k`` is always the draw number ``k``.

    Args:
        epoch: epochs that are done, asked at the start of each.
    """

    def __init__(self, sampler: RepeatSampler, epoch: Callable[[], int]) -> None:
        self._sampler = sampler
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        sampler = self._sampler
        assert sampler.seed is not None
        sampler.generator.manual_seed(sampler.seed)
        for _ in range(self._epoch()):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        yield from sampler

    def __len__(self) -> int:
        return len(self._sampler)
