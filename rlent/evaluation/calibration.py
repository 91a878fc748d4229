"""Entropy thresholds from answers: when to stop after a first answer, and which candidates to keep.

**Stopping** ("Think Just Enough", arXiv 2510.08146, read in an account and the abstract). ``H`` is the mean entropy of
a completion's tokens; an answer with ``H <= tau`` is taken, and only the others are thought about further::

    tau_mean = mu_c                            mean H of the correct calibration answers
    tau_info = mu_c + sigma_c * ln(1 + |d|)    d = (mu_w - mu_c) / pooled standard deviation   (Cohen's d)

The paper takes ``H`` in bits over the 20 most probable tokens, renormalised, in the first of four reasoning steps. Here
it is what ``rlent eval`` writes: nats, full distribution, over the whole completion. An answer's row has that mean and
no entropy of a single token, so the mean over a first step, at which the decoding rule ``think_just_enough`` stops,
cannot be had from it. Thresholds hold for the ``H`` that they were computed from. Standard deviations are those of
samples (n - 1), which is unverified, and the paper's Bayesian and scale-invariant thresholds are left out: their exact
forms could not be verified.

**Conformal sets** ("TECP", arXiv 2509.00461, read in an account and the abstracts). The nonconformity ``s`` of a
candidate is its total entropy, mean entropy times number of tokens. That of a calibration problem is the least of its
correct candidates, and with ``n`` such problems::

    q = the k-th smallest,   k = ceil((n + 1) * (1 - alpha));   infinite if k > n

The set of a new problem is its candidates with ``s <= q``. If problems are exchangeable, it holds a correct one with
probability at least ``1 - alpha`` among the problems that have one. Whether the paper sums entropies or surprisals of
the sampled tokens, and which correct candidate it takes, is unverified.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rlent.errors import RlentError


@dataclass(frozen=True, kw_only=True, slots=True)
class StopThresholds:
    """Entropies at or below which an answer is taken."""

    mean: float
    """``tau_mean``."""
    info: float
    """``tau_info``."""
    effect: float
    """Cohen's d, above 0 where wrong answers have the higher entropy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """What a threshold does to answers."""

    share: float
    """Of answers that are taken."""
    accuracy: float | None
    """Of those; None if none is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Conformal sets of problems that have a correct candidate."""

    problems: int
    covered: float
    """Share whose set holds a correct candidate."""
    size: float
    """Mean number of candidates in a set."""


def stop_thresholds(entropies: Sequence[float], correct: Sequence[bool]) -> StopThresholds:
    """From calibration answers. Raises RlentError with fewer than two correct or two wrong ones."""
    right = [h for h, good in zip(entropies, correct, strict=True) if good]
    wrong = [h for h, good in zip(entropies, correct, strict=True) if not good]
    if min(len(right), len(wrong)) < 2:
        raise RlentError(
            f"thresholds need two correct and two wrong answers at least, and there are {len(right)} and {len(wrong)}"
        )
    sigma = stdev(right)
    squares = (len(right) - 1) * sigma**2 + (len(wrong) - 1) * stdev(wrong) ** 2
    pooled = math.sqrt(squares / (len(right) + len(wrong) - 2))
    if pooled == 0:
        raise RlentError("all correct and all wrong answers have one entropy each")
    effect = (fmean(wrong) - fmean(right)) / pooled
    return StopThresholds(
        mean=fmean(right), info=fmean(right) + sigma * math.log1p(abs(effect)), effect=effect
    )


def stopped(entropies: Sequence[float], correct: Sequence[bool], threshold: float) -> Stopped:
    """What a threshold does to these answers."""
    taken = [good for h, good in zip(entropies, correct, strict=True) if h <= threshold]
    return Stopped(share=len(taken) / len(entropies), accuracy=fmean(taken) if taken else None)


def conformal_threshold(scores: Sequence[float], alpha: float) -> float:
    """``q`` from one score per calibration problem."""
    place = math.ceil((len(scores) + 1) * (1 - alpha))
    return sorted(scores)[place - 1] if 1 <= place <= len(scores) else math.inf


def correct_score(scores: Sequence[float], correct: Sequence[bool]) -> float | None:
    """Least score of a problem's correct candidates; None if it has none."""
    right = [score for score, good in zip(scores, correct, strict=True) if good]
    return min(right) if right else None


def coverage(
    problems: Sequence[tuple[Sequence[float], Sequence[bool]]], threshold: float
) -> Coverage:
    """Of problems' candidates, their scores and whether they are correct. Raises RlentError if no problem has one."""
    solvable = [each for each in problems if correct_score(*each) is not None]
    if not solvable:
        raise RlentError("no problem has a correct candidate")
    kept = [
        [good for score, good in zip(*each, strict=True) if score <= threshold] for each in solvable
    ]
    return Coverage(
        problems=len(solvable),
        covered=fmean(map(any, kept)),
        size=fmean(map(len, kept)),
    )
