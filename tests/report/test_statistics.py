"""Intervals and tests over seeds against scipy."""

import random

import pytest
import scipy.stats

from rlent.report.statistics import (
    difference,
    estimate,
    paired_t_test,
    sign_flip_test,
    t_quantile,
    t_tail,
)


def samples(count: int, seed: int) -> tuple[list[float], list[float]]:
    stream = random.Random(seed)
    return (
        [stream.gauss(0.6, 0.1) for _ in range(count)],
        [stream.gauss(0.5, 0.1) for _ in range(count)],
    )


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 200])
def test_students_t(freedom: int) -> None:
    for t in (0.0, 1e-6, 0.3, 1.0, 2.5, 12.7, 300.0):
        assert t_tail(t, freedom) == pytest.approx(scipy.stats.t.sf(t, freedom), rel=1e-9)
    for probability in (0.5, 0.6, 0.9, 0.975, 0.9995):
        expected = scipy.stats.t.ppf(probability, freedom)
        assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_intervals_and_paired_tests(count: int, seed: int) -> None:
    ours, theirs = samples(count, seed)
    found = difference(ours, theirs)
    test = scipy.stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(0.95)
    assert found.t_test == pytest.approx(test.pvalue, rel=1e-9)
    assert found.estimate.low == pytest.approx(interval.low, rel=1e-9)
    assert found.estimate.high == pytest.approx(interval.high, rel=1e-9)
    assert found.shown == (interval.low > 0 or interval.high < 0)
    flips = scipy.stats.permutation_test(
        (ours, theirs),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=10_000,
        vectorized=True,
    )
    assert found.sign_flips == pytest.approx(flips.pvalue)
    mean = estimate(ours)
    low, high = scipy.stats.t.interval(
        0.95, count - 1, loc=sum(ours) / count, scale=scipy.stats.sem(ours)
    )
    assert (mean.low, mean.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_says_nothing_of_others() -> None:
    found = difference([0.9], [0.1])
    assert found.estimate.mean == pytest.approx(0.8)
    assert (found.estimate.low, found.estimate.high) == (None, None)
    assert (found.t_test, found.sign_flips, found.shown) == (None, None, False)


def test_differences_without_spread() -> None:
    assert paired_t_test([0.5, 0.5, 0.5]) == 0.0
    assert paired_t_test([0.0, 0.0]) == 1.0
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert sign_flip_test([1.0] * 3) == 2 / 8
    assert sign_flip_test([0.1, 0.2, 0.3]) == 2 / 8
    assert sign_flip_test([0.1] * 17) is None


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate([])
    with pytest.raises(ValueError, match="zip"):
        difference([1.0, 2.0], [1.0])
