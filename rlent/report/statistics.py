"""Means over seeds: how sure they are, and whether two differ. Student's t in float64, without further packages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, stdev

LEVEL = 0.95
MOST_FLIPPED = 16
"""Seeds up to which every change of signs is tried."""
_TINY = 1e-300
_STEPS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over seeds with its 95% interval; the bounds are None for one seed, which says nothing of others."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Between two configurations, seed by seed."""

    estimate: Estimate
    t_test: float | None
    """Two-sided p value of the paired t test; None for one seed."""
    sign_flips: float | None
    """Two-sided p value of the exact permutation test over signs; None for one seed, or too many."""

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        low, high = self.estimate.low, self.estimate.high
        return low is not None and high is not None and (low > 0 or high < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """``mean +- t_{n-1, 0.975} s / sqrt(n)``.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("the mean of no values is not defined")
    mean, count = fmean(values), len(values)
    if count < 2:
        return Estimate(mean=mean, low=None, high=None)
    reach = t_quantile((1 + LEVEL) / 2, count - 1) * stdev(values) / math.sqrt(count)
    return Estimate(mean=mean, low=mean - reach, high=mean + reach)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """``ours - theirs``, whose values belong to the same seeds in the same order.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    return Difference(
        estimate=estimate(gaps), t_test=paired_t_test(gaps), sign_flips=sign_flip_test(gaps)
    )


def paired_t_test(gaps: Sequence[float]) -> float | None:
    """Two-sided p of ``t = mean / (s / sqrt(n))`` with n - 1 degrees of freedom; without any spread 0, or 1 at 0."""
    count = len(gaps)
    if count < 2:
        return None
    mean, spread = fmean(gaps), stdev(gaps)
    if spread == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return 2 * t_tail(abs(mean) * math.sqrt(count) / spread, count - 1)


def sign_flip_test(gaps: Sequence[float]) -> float | None:
    """Share of all ``2^n`` choices of signs whose mean is at least as far from 0; never below ``2^(1-n)``."""
    count = len(gaps)
    if not 2 <= count <= MOST_FLIPPED:
        return None
    seen = abs(math.fsum(gaps))
    slack = 1e-12 * math.fsum(map(abs, gaps))
    far = sum(
        abs(math.fsum(sign * gap for sign, gap in zip(signs, gaps, strict=True))) >= seen - slack
        for signs in product((1, -1), repeat=count)
    )
    return far / 2**count


def t_tail(t: float, freedom: int) -> float:
    """``P(T > t)`` for ``t >= 0``: half the regularised incomplete beta function at ``f / (f + t^2)``."""
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2


def t_quantile(probability: float, freedom: int) -> float:
    """The t with ``P(T <= t) = probability``, for a probability in [0.5, 1)."""
    high = 1.0
    while t_tail(high, freedom) > 1 - probability:
        high *= 2
    return _bisected(lambda t: t_tail(t, freedom) - (1 - probability), 0.0, high)


def _bisected(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0."""
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)


def _beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function ``I_x(a, b)`` (DLMF 8.17.22, with its symmetry 8.17.4)."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """``1 + d_1 / (1 + d_2 / (1 + ...))`` by Lentz's method."""
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, _STEPS):
        m = step // 2
        term = (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            if step % 2 == 0
            else -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        )
        d = 1 / _away_from_zero(1 + term * d)
        c = _away_from_zero(1 + term / c)
        value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value


def _away_from_zero(value: float) -> float:
    return _TINY if abs(value) < _TINY else value
