"""Which completions go into the page when there are too many: whole groups, evenly over the run."""

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from rlent.report.trace import Trace

MOST_TOKENS = 6_000_000
"""About 50 MB of page."""


def sample_completions(
    trace: Trace, most: int, most_tokens: int = MOST_TOKENS
) -> Int[ndarray, " k"]:
    """Numbers of at most ``most`` completions with at most about ``most_tokens`` tokens; one group at least."""
    rows, tokens = len(trace.length), int(trace.length.sum())
    share = min(1.0, most / max(rows, 1), most_tokens / max(tokens, 1))
    if share == 1.0:
        return np.arange(rows)
    group = _group_number(trace)
    groups = int(group[-1]) + 1
    kept = np.unique(np.linspace(0, groups - 1, max(1, int(share * groups))).astype(np.int64))
    return np.flatnonzero(np.isin(group, kept))[: max(most, 1)]


def _group_number(trace: Trace) -> Int[ndarray, " n"]:
    """Neighbouring completions of one prompt in one step have the same number."""
    changed = (np.diff(trace.step) != 0) | (np.diff(trace.group) != 0)
    return np.concatenate([[0], np.cumsum(changed)])
