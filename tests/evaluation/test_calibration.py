"""Thresholds against plain formulas, and the coverage that conformal sets promise."""

import math
import random

import pytest

from rlent.errors import RlentError
from rlent.evaluation.calibration import (
    conformal_threshold,
    correct_score,
    coverage,
    stop_thresholds,
    stopped,
)

ENTROPIES = [0.1, 0.4, 0.25, 0.9, 1.1, 0.7, 0.3]
CORRECT = [True, True, True, False, False, False, True]


def test_stop_thresholds() -> None:
    right, wrong = [0.1, 0.4, 0.25, 0.3], [0.9, 1.1, 0.7]
    mu, nu = sum(right) / 4, sum(wrong) / 3
    squares = sum((h - mu) ** 2 for h in right), sum((h - nu) ** 2 for h in wrong)
    effect = (nu - mu) / math.sqrt(sum(squares) / 5)
    found = stop_thresholds(ENTROPIES, CORRECT)
    assert found.mean == pytest.approx(mu)
    assert found.effect == pytest.approx(effect)
    sigma = math.sqrt(squares[0] / 3)
    assert found.info == pytest.approx(mu + sigma * math.log(1 + effect))


def test_a_negative_effect_widens_as_much() -> None:
    """tau_info takes the effect's size, whichever answers have the higher entropy."""
    mirrored = stop_thresholds([-h for h in ENTROPIES], CORRECT)
    found = stop_thresholds(ENTROPIES, CORRECT)
    assert mirrored.effect == pytest.approx(-found.effect)
    assert mirrored.info - mirrored.mean == pytest.approx(found.info - found.mean)


def test_what_a_threshold_takes() -> None:
    result = stopped(ENTROPIES, CORRECT, 0.7)
    assert (result.share, result.accuracy) == (5 / 7, 4 / 5)
    assert stopped(ENTROPIES, CORRECT, 0.05).accuracy is None


@pytest.mark.parametrize(
    ("entropies", "correct", "match"),
    [
        ([1.0, 2.0, 3.0], [True, False, False], "1 and 2"),
        ([1.0, 2.0, 3.0], [True, True, False], "2 and 1"),
        ([1.0, 1.0, 2.0, 2.0], [True, True, False, False], "one entropy"),
    ],
)
def test_answers_that_say_nothing(entropies: list[float], correct: list[bool], match: str) -> None:
    with pytest.raises(RlentError, match=match):
        stop_thresholds(entropies, correct)


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.5, 3.0), (0.4, 3.0), (0.39, 4.0), (0.2, 4.0), (0.19, math.inf)]
)
def test_the_conformal_threshold_is_an_order_statistic(alpha: float, expected: float) -> None:
    assert conformal_threshold([4.0, 1.0, 3.0, 2.0], alpha) == expected


def test_the_score_of_a_problem_is_its_best_correct_candidates() -> None:
    assert correct_score([3.0, 1.0, 2.0], [True, False, True]) == 2.0
    assert correct_score([3.0], [False]) is None


def test_coverage_counts_solvable_problems() -> None:
    problems = [
        ([1.0, 5.0], [True, False]),
        ([6.0, 1.0], [True, False]),
        ([1.0, 1.0], [False, False]),
        ([2.0, 2.0], [True, True]),
    ]
    result = coverage(problems, 2.0)
    assert (result.problems, result.covered, result.size) == (3, 2 / 3, 4 / 3)
    with pytest.raises(RlentError, match="correct candidate"):
        coverage([([1.0], [False])], 2.0)


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_exchangeable_problems_are_covered_as_promised(alpha: float) -> None:
    """Mean coverage over many splits lies in [1 - alpha, 1 - alpha + 1/(n + 1)], up to four standard errors."""
    numbers = random.Random(0)
    n, trials = 19, 4000

    def problem() -> tuple[list[float], list[bool]]:
        hard = numbers.random()
        scores = [numbers.gammavariate(1 + 3 * hard, 2.0) for _ in range(4)]
        return scores, [numbers.random() > hard for _ in scores]

    def solvable() -> tuple[list[float], list[bool]]:
        while correct_score(*(made := problem())) is None:
            continue
        return made

    covered = 0.0
    for _ in range(trials):
        scores = [correct_score(*solvable()) for _ in range(n)]
        threshold = conformal_threshold([score for score in scores if score is not None], alpha)
        covered += coverage([solvable()], threshold).covered
    error = 4 * math.sqrt(alpha * (1 - alpha) / trials)
    assert 1 - alpha - error <= covered / trials <= 1 - alpha + 1 / (n + 1) + error
