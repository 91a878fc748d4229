"""Which part of a run a completion is from: bins of steps, and the first and last steps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from rlent.report.trace import Trace

SHARE = 1 / 3
"""Share of the steps that is called the first, and the last, steps."""
MOST_BINS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """A run of steps, and the completions generated in it."""

    first: int
    last: int
    inside: Bool[ndarray, " n"]


def first_and_last(trace: Trace) -> tuple[Period, Period] | None:
    """The first and the last third of the steps with rollouts; None for fewer than two steps."""
    steps = np.unique(trace.step)
    if len(steps) < 2:
        return None
    size = max(1, int(len(steps) * SHARE))
    return _period(trace, steps[:size]), _period(trace, steps[-size:])


def whole(trace: Trace) -> Period:
    """Every step with rollouts."""
    return _period(trace, np.unique(trace.step))


def _period(trace: Trace, steps: Int[ndarray, " k"]) -> Period:
    first, last = int(steps[0]), int(steps[-1])
    return Period(first=first, last=last, inside=(trace.step >= first) & (trace.step <= last))


def step_bins(trace: Trace) -> tuple[list[int], Int[ndarray, " n"]]:
    """First step of each of at most ``MOST_BINS`` bins with equally many steps, and every completion's bin."""
    steps, order = np.unique(trace.step, return_inverse=True)
    bins = min(len(steps), MOST_BINS)
    bin_of_step = np.arange(len(steps)) * bins // len(steps)
    first = np.searchsorted(bin_of_step, np.arange(bins))
    return steps[first].tolist(), bin_of_step[order]
