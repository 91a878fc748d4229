"""How hard a prompt is for the policy, by the share of its completions that are correct (ARES, Appendix G)."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

EASY, MEDIUM, HARD = 0, 1, 2
NAMES = ("easy", "medium", "hard")


def difficulties(
    right: Bool[Tensor, " n"],
    scored: Bool[Tensor, " n"],
    group: Int[Tensor, " n"],
    *,
    easy: float,
    medium: float,
) -> Int[Tensor, " n"]:
    """``EASY``, ``MEDIUM`` or ``HARD`` for each completion, by the pass rate of its group.

    Args:
        scored: completions that the pass rate counts. A group without any is hard.
        easy: smallest pass rate of an easy prompt.
        medium: smallest pass rate of a prompt that is not hard.
    """
    _, place = group.unique(return_inverse=True)
    passed = torch.bincount(place, weights=(right & scored).double())
    tried = torch.bincount(place, weights=scored.double())
    rate = (passed / tried.clamp(min=1))[place]
    return torch.where(rate >= easy, EASY, torch.where(rate >= medium, MEDIUM, HARD))
