"""Target lengths by pass rate, and the solutions that are nearest to them."""

import pytest

from rlent.data.adaptive_lengths import (
    Solution,
    median_lengths,
    nearest_to_target,
    target_length,
)
from rlent.errors import ConfigError


def solution(problem: str, pass_rate: float, length: int) -> Solution:
    return Solution(problem=problem, pass_rate=pass_rate, length=length)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 900), (0.25, 700), (0.5, 500), (1.0, 100)])
def test_the_target_is_a_line_between_the_ends(rate: float, expected: float) -> None:
    assert target_length(rate, hardest=900.0, easiest=100.0) == expected


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_pass_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ValueError, match="pass rate"):
        target_length(rate, hardest=900.0, easiest=100.0)


def test_the_ends_are_medians_at_pass_rates_0_and_1() -> None:
    solutions = [
        *(solution("a", 0.0, length) for length in (800, 1000, 5000)),
        *(solution("b", 1.0, length) for length in (100, 300)),
        solution("c", 0.5, 7),
    ]
    assert median_lengths(solutions) == (1000.0, 200.0)


@pytest.mark.parametrize(("rate", "option"), [(0.0, "--easiest"), (1.0, "--hardest")])
def test_an_end_without_a_solution_is_asked_for(rate: float, option: str) -> None:
    with pytest.raises(ConfigError, match="median length") as raised:
        median_lengths([solution("a", rate, 10), solution("b", 0.5, 10)])
    assert option in (raised.value.remedy or "")


def test_of_each_problem_the_nearest_is_taken_and_the_first_of_equals() -> None:
    solutions = [
        solution("hard", 0.0, 400),
        solution("half", 0.5, 400),
        solution("hard", 0.0, 950),
        solution("half", 0.5, 600),
        solution("easy", 1.0, 2000),
        solution("easy", 1.0, 90),
    ]
    assert nearest_to_target(solutions, hardest=900.0, easiest=100.0) == [2, 1, 5]
    assert nearest_to_target([], hardest=900.0, easiest=100.0) == []
