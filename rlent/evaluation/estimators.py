"""What k completions of a problem say about a model, and how sure a mean over problems is."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
_BLOCK = 500
"""Resamples that are held in memory at once."""


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Probability that one of ``k`` completions is correct, of ``samples`` drawn of which ``correct`` are.

    Unbiased (Chen et al., "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, Eq. 1)::

        1 - C(n - c, k) / C(n, k)

    which is the share of the k-subsets of the n completions with a correct one in them. Exact up to one rounding.

    Raises:
        ValueError: not ``1 <= k <= samples``, or not ``0 <= correct <= samples``.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be between 1 and the number of samples, {samples}; got {k}")
    if not 0 <= correct <= samples:
        raise ValueError(f"correct must be between 0 and {samples}, got {correct}")
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def avg_at_k(scores: Sequence[float]) -> float:
    """Mean score of a problem's k completions: for scores 0 and 1 the estimate of pass@1 at their temperature.

    Raises:
        ValueError: there are none.
    """
    if not scores:
        raise ValueError("the mean of no scores is not defined")
    return math.fsum(scores) / len(scores)


def maj_at_k(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float:
    """1 if the answer that most of the k completions give is correct, else 0.

    Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", arXiv 2203.11171. Equal
    answers are equal values; None does not vote. Of several answers with the most votes the one seen first wins, and
    the first completion that gives the winner says whether it is correct. 0 if nobody votes.

    Raises:
        ValueError: the two differ in length.
    """
    if len(answers) != len(correct):
        raise ValueError(f"{len(answers)} answers, but {len(correct)} judgements")
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    winner, _ = votes.most_common(1)[0]  # Counter keeps the order of appearance among equals
    return float(correct[list(answers).index(winner)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def bootstrap(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The 95% percentile interval of the mean of ``values``, one per problem.

    Problems are drawn with replacement, as many as there are, ``RESAMPLES`` times; the bounds are the 2.5% and 97.5%
    quantiles of the means (the smallest mean whose empirical distribution reaches them). It says how much another draw
    of problems would change the mean; what another draw of completions would change is in it only as far as the values
    hold it already. One problem gives an interval without width.

    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"an interval needs finite values, got {list(values)[:5]}")
    rng = np.random.default_rng(seed)
    means = [
        data[rng.integers(data.size, size=(_BLOCK, data.size))].mean(axis=1)
        for _ in range(RESAMPLES // _BLOCK)
    ]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], method="inverted_cdf")
    return Interval(low=float(low), high=float(high))
