"""Which tokens of a run are forks: high entropy at the position where they were sampled; and how this changed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rlent.report.distribution import mean_by
from rlent.report.trace import Trace
from rlent.report.when import Period

MINIMUM = 20
"""A token sampled less often would rank by chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForkingToken:
    """A token's text, mean entropy (nats) where it was sampled, how often it was, and the share that was kept."""

    text: str
    entropy: float
    count: int
    kept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Then:
    """A token in one period. ``rank`` counts from 1 among those sampled often enough; None for one that was not."""

    rank: int | None
    entropy: float
    count: int
    kept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A forking token in the first and in the last steps."""

    text: str
    first: Then
    last: Then


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """A token's mean log-probability and entropy (nats) where it was sampled, in the first and in the last steps."""

    text: str
    logp: tuple[float, float]
    entropy: tuple[float, float]
    count: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Means over the tokens of a period, for every text of the vocabulary; NaN for one that was not sampled."""

    count: Int[ndarray, " v"]
    entropy: Float[ndarray, " v"]
    logp: Float[ndarray, " v"]
    kept: Float[ndarray, " v"]


def statistics(trace: Trace, period: Period) -> Statistics:
    """Of the tokens sampled in a period."""
    inside = trace.per_token(period.inside)
    text, size = trace.text[inside], len(trace.vocabulary)
    return Statistics(
        count=np.bincount(text, minlength=size),
        entropy=mean_by(text, trace.entropy[inside], size),
        logp=mean_by(text, trace.logp[inside], size),
        kept=mean_by(text, trace.selected[inside], size),
    )


def rank_forking_tokens(
    trace: Trace, period: Period, *, top: int = 12, minimum: int = MINIMUM
) -> list[ForkingToken]:
    """The ``top`` tokens of highest mean entropy among those sampled at least ``minimum`` times."""
    seen = statistics(trace, period)
    return [
        ForkingToken(
            text=trace.vocabulary[i],
            entropy=float(seen.entropy[i]),
            count=int(seen.count[i]),
            kept=float(seen.kept[i]),
        )
        for i in _order(trace, seen, minimum)[:top]
    ]


def compare_forking_tokens(
    trace: Trace, periods: tuple[Period, Period], *, top: int = 15, minimum: int = MINIMUM
) -> list[Compared]:
    """The tokens among the ``top`` of either period, by their higher mean entropy."""
    first, last = (statistics(trace, period) for period in periods)
    orders = [_order(trace, seen, minimum) for seen in (first, last)]
    ranks = [{i: rank for rank, i in enumerate(order, start=1)} for order in orders]
    chosen = dict.fromkeys([*orders[0][:top], *orders[1][:top]])
    highest = np.fmax(first.entropy, last.entropy)
    return [
        Compared(
            text=trace.vocabulary[i],
            first=_then(first, ranks[0], i),
            last=_then(last, ranks[1], i),
        )
        for i in sorted(chosen, key=lambda i: (-highest[i], trace.vocabulary[i]))
    ]


def most_moved(
    trace: Trace, periods: tuple[Period, Period], *, top: int = 30, minimum: int = MINIMUM
) -> list[Moved]:
    """The tokens whose mean log-probability differs most between the periods, of those sampled often in both."""
    first, last = (statistics(trace, period) for period in periods)
    often: Bool[ndarray, " v"] = np.minimum(first.count, last.count) >= minimum
    moved = np.abs(last.logp - first.logp)
    order = sorted(np.flatnonzero(often).tolist(), key=lambda i: (-moved[i], trace.vocabulary[i]))
    return [
        Moved(
            text=trace.vocabulary[i],
            logp=(float(first.logp[i]), float(last.logp[i])),
            entropy=(float(first.entropy[i]), float(last.entropy[i])),
            count=(int(first.count[i]), int(last.count[i])),
        )
        for i in order[:top]
    ]


def _order(trace: Trace, seen: Statistics, minimum: int) -> list[int]:
    often = np.flatnonzero(seen.count >= minimum).tolist()
    return sorted(often, key=lambda i: (-seen.entropy[i], trace.vocabulary[i]))


def _then(seen: Statistics, ranks: dict[int, int], i: int) -> Then:
    return Then(
        rank=ranks.get(i),
        entropy=float(seen.entropy[i]),
        count=int(seen.count[i]),
        kept=float(seen.kept[i]),
    )
