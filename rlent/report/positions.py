"""The entropy of each position through the completion."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from rlent.report.distribution import mean_by
from rlent.report.trace import Trace
from rlent.report.when import Period

MOST_BINS = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class ByPosition:
    """Mean and quartiles of entropy (nats) at positions ``position`` and up to the next entry."""

    position: Int[ndarray, " k"]
    mean: Float[ndarray, " k"]
    low: Float[ndarray, " k"]
    high: Float[ndarray, " k"]
    count: Int[ndarray, " k"]


def entropy_by_position(trace: Trace, period: Period) -> ByPosition:
    """Over the completions of a period; positions count from 0, and neighbours share a bin in long completions."""
    chosen = trace.per_token(period.inside)
    width = -(-int(trace.length.max(initial=1)) // MOST_BINS)
    number, entropy = trace.position()[chosen] // width, trace.entropy[chosen]
    bins = int(number.max(initial=-1)) + 1
    count = np.bincount(number, minlength=bins)
    parts = np.split(entropy[np.argsort(number, kind="stable")], np.cumsum(count)[:-1])
    quartiles = [np.quantile(part, (0.25, 0.75)) for part in parts if len(part)]
    low, high = np.asarray(quartiles, dtype=np.float64).reshape(-1, 2).T
    seen = count > 0
    return ByPosition(
        position=np.flatnonzero(seen) * width,
        mean=mean_by(number, entropy, bins)[seen],
        low=low,
        high=high,
        count=count[seen],
    )
