"""Answers with junk outside the mask, and formulas in plain loops."""

import math

import torch
from torch import Tensor

from rlent.losses import Answers

MASKED = (math.nan, math.inf, -math.inf, 1e30)


def answers(seed: int, *, measured: tuple[str, ...] = (), score: bool = False) -> Answers:
    """Three answers of at most five tokens in float64, the last of which has none."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(3, 5, generator=generator, dtype=torch.float64)

    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    junk = torch.tensor([MASKED[i % 4] for i in range(15)], dtype=torch.float64).reshape(3, 5)

    def hidden(values: Tensor) -> Tensor:
        return torch.where(mask, values, junk)

    return Answers(
        logp=hidden(-normal().abs()).requires_grad_(),
        ref_logp=hidden(-normal().abs()),
        mask=mask,
        measured={name: hidden(normal().abs() / 5).requires_grad_() for name in measured},
        score=hidden(normal().sigmoid()) if score else None,
    )


def kept(values: Tensor, mask: Tensor) -> list[list[float]]:
    """The values of each row where the mask holds."""
    return [
        [value for value, keep in zip(row, flags, strict=True) if keep]
        for row, flags in zip(values.tolist(), mask.tolist(), strict=True)
    ]


def margins(given: Answers) -> list[float]:
    """``sum log pi/pi_ref`` of each row."""
    assert given.ref_logp is not None
    rows = zip(kept(given.logp, given.mask), kept(given.ref_logp, given.mask), strict=True)
    return [sum(a - b for a, b in zip(logp, ref, strict=True)) for logp, ref in rows]


def sums(values: Tensor, given: Answers) -> list[float]:
    return [sum(row) for row in kept(values, given.mask)]


def nll(logit: float) -> float:
    """``-log sigmoid``."""
    return math.log1p(math.exp(-logit))
