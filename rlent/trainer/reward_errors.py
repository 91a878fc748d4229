"""TRL's rewards of all ranks, where the reward functions of one rank may fail."""

from collections.abc import Callable

import torch
from accelerate.utils import gather
from torch import Tensor

from rlent.sharding import stop_together


def rewards_of_all_ranks(
    score: Callable[[], Tensor], shape: tuple[int, int], device: torch.device
) -> Tensor:
    """What ``score`` gives: the rewards of every rank's completions by function, each rank's of ``shape``.

    Raises:
        Exception: what ``score`` has raised on this rank.
        RlentError: it has raised on another; with the message from there.
    """
    error = None
    try:
        rewards = score()
    except Exception as raised:
        error = raised
        # The last thing that TRL does is to gather the rewards, and there the other ranks wait.
        rewards = gather(torch.full(shape, torch.nan, device=device))
    stop_together(error)
    assert isinstance(rewards, Tensor)
    return rewards
