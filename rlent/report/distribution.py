"""The distribution of token entropy over training, for kept, dropped, correct and wrong tokens."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rlent.report.correctness import Correctness
from rlent.report.trace import Trace
from rlent.report.when import step_bins

EDGES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Nats. Inner edges of the classes in which entropy is counted and coloured; the same for every run, so that two
pages can be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Tokens of one kind, in each bin of steps: how many of each class, and their mean entropy (NaN without any)."""

    kind: str
    count: Int[ndarray, "bins classes"]
    mean: Float[ndarray, " bins"]


def distribution(trace: Trace, judged: Correctness) -> tuple[list[int], list[Spread]]:
    """First step of each bin, and a ``Spread`` for every kind of token."""
    steps, bin_of_row = step_bins(trace)
    bin_of_token = trace.per_token(bin_of_row)
    kinds = {
        "kept": trace.selected,
        "dropped": ~trace.selected,
        "correct": trace.per_token(judged.correct),
        "wrong": trace.per_token(judged.wrong),
    }
    spreads = [
        spread(kind, trace.entropy[chosen], bin_of_token[chosen], len(steps))
        for kind, chosen in kinds.items()
    ]
    return steps, spreads


def spread(
    kind: str, entropy: Float[ndarray, " m"], bin_of_token: Int[ndarray, " m"], bins: int
) -> Spread:
    """Counts and means of entropies (nats) whose bins are given."""
    classes = len(EDGES) + 1
    place = bin_of_token * classes + entropy_class(entropy)
    return Spread(
        kind=kind,
        count=np.bincount(place, minlength=bins * classes).reshape(bins, classes),
        mean=mean_by(bin_of_token, entropy, bins),
    )


def entropy_class(entropy: Float[ndarray, " m"]) -> Int[ndarray, " m"]:
    """Number of the class of each entropy; an edge belongs to the class above it."""
    return np.searchsorted(np.asarray(EDGES, dtype=entropy.dtype), entropy, side="right")


def mean_by(
    number: Int[ndarray, " m"], values: Float[ndarray, " m"] | Bool[ndarray, " m"], size: int
) -> Float[ndarray, " size"]:
    """Mean of the values of each number below ``size``; NaN where there are none."""
    count = np.bincount(number, minlength=size)
    total = np.bincount(number, weights=values, minlength=size)
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
