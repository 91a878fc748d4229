"""From answers to numbers, against sums written out."""

import math
from collections.abc import Mapping, Sequence

import pytest

from rlent.errors import RlentError
from rlent.evaluation import Answer, bootstrap, result_table, set_result
from rlent.evaluation.store import summary
from rlent_rewards import MathAnswer
from tests.evaluation.examples import make_answer, sums

SCORES = {0: [1.0, 1.0, 0.0, 0.0, 0.0], 1: [0.0, 0.0, 0.0, 1.0, 0.0], 2: [0.0] * 5}
"""Of the greedy completion and four drawn ones, by problem."""
ANSWERS = {0: ["1", "2", "2", "3"], 1: [None, "1", "1", "5"], 2: [None] * 4}


def answers(scores: Mapping[int, Sequence[float | None]]) -> list[Answer]:
    return [
        make_answer(
            problem,
            None if place == 0 else place - 1,
            score=score,
            answer=None if place == 0 else ANSWERS[problem][place - 1],
            length=10 * problem + place + 1,
            entropy=0.5 * place,
            finish="length" if place == 4 else "eos",
        )
        for problem, row in scores.items()
        for place, score in enumerate(row)
    ]


def problems(**settings: object):
    return sums(3, **({"samples": 4, "k": (2, 3), "reward": MathAnswer()} | settings))


def test_the_numbers_of_a_set() -> None:
    result = set_result(problems(), answers(SCORES))
    assert list(result.metrics) == ["pass@1", "avg@4", "pass@2", "pass@3", "maj@4"]
    assert result.metrics["pass@1"] == pytest.approx(1 / 3)
    assert result.metrics["avg@4"] == pytest.approx((1 / 4 + 1 / 4 + 0) / 3)
    # One of four is correct: half of the pairs and three quarters of the triples hold it.
    assert result.metrics["pass@2"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert result.metrics["pass@3"] == pytest.approx((3 / 4 + 3 / 4 + 0) / 3)
    # Problem 0 votes for "2", which is wrong; problem 1 for "1", whose first completion is wrong too.
    assert result.metrics["maj@4"] == 0.0
    assert result.unscored == 0
    assert [each.metrics["avg@4"] for each in result.problems if each.metrics] == [0.25, 0.25, 0]


def test_statistics_of_texts() -> None:
    result = set_result(problems(), answers(SCORES))
    drawn = [(10 * p + s + 1, 0.5 * s) for p in range(3) for s in range(1, 5)]
    texts = result.texts["sampled"]
    assert texts.length == pytest.approx(sum(length for length, _ in drawn) / 12)
    assert texts.length_median == 13.5
    assert texts.length_max == 25
    assert texts.truncated == 0.25
    total = sum(length for length, _ in drawn)
    assert texts.entropy == pytest.approx(sum(n * h for n, h in drawn) / total)
    greedy = result.texts["greedy"]
    assert (greedy.length, greedy.length_max, greedy.truncated, greedy.entropy) == (11, 21, 0, 0)
    lengths = [1, 2, 3, 4, 5]
    assert result.problems[0].length == 3
    expected = sum(n * 0.5 * s for s, n in enumerate(lengths)) / sum(lengths)
    assert result.problems[0].entropy == pytest.approx(expected)


def test_greedy_alone() -> None:
    only = [answer for answer in answers(SCORES) if answer.sample is None]
    result = set_result(problems(samples=0, k=()), only)
    assert result.metrics == {"pass@1": pytest.approx(1 / 3)}
    assert list(result.texts) == ["greedy"]


def test_partial_credit_is_averaged_but_not_correct() -> None:
    scores = {0: [0.9, 0.5, 0.5, 1.5, 0.0], 1: [1.0, 0.0, 0.0, 0.0, 0.0]}
    two = sums(2, samples=4, k=(2,))
    result = set_result(two, answers(scores))
    assert result.metrics["pass@1"] == 0.5
    assert result.metrics["avg@4"] == pytest.approx((2.5 / 4 + 0) / 2)
    assert result.metrics["pass@2"] == pytest.approx((1 / 2 + 0) / 2)
    assert "maj@4" not in result.metrics  # this reward compares no answers


@pytest.mark.parametrize("place", [0, 3])
def test_a_problem_without_a_score_is_in_no_mean(place: int) -> None:
    scores: dict[int, list[float | None]] = {problem: list(row) for problem, row in SCORES.items()}
    scores[0][place] = None
    result = set_result(problems(), answers(scores))
    assert result.unscored == 1
    assert result.problems[0].metrics is None
    assert result.metrics["pass@1"] == 0.0
    assert result.metrics["avg@4"] == pytest.approx((1 / 4 + 0) / 2)
    assert result.texts["sampled"] == set_result(problems(), answers(SCORES)).texts["sampled"]
    assert "1 of 3 problems are in no metric" in result_table([result])
    assert result.logged()["eval/sums/unscored"] == 1.0
    assert not any(math.isnan(value) for value in result.logged().values())


def test_no_score_at_all_is_an_error() -> None:
    with pytest.raises(RlentError, match="scored no problem"):
        set_result(problems(), answers({problem: [None] * 5 for problem in SCORES}))


@pytest.mark.parametrize("gone", [0, 3, 14])
def test_a_missing_answer_is_an_error(gone: int) -> None:
    found = answers(SCORES)
    del found[gone]
    with pytest.raises(RlentError, match="answers to sums are missing"):
        set_result(problems(), found)


def test_a_missing_problem_is_an_error() -> None:
    with pytest.raises(RlentError, match="missing"):
        set_result(problems(), answers(SCORES)[:10])


def test_names_in_a_training_log() -> None:
    logged = set_result(problems(), answers(SCORES)).logged()
    kinds = [
        f"{kind}/{what}"
        for kind in ("greedy", "sampled")
        for what in ("length", "truncated", "entropy")
    ]
    names = ["pass@1", "avg@4", "pass@2", "pass@3", "maj@4", "unscored", *kinds]
    assert list(logged) == [f"eval/sums/{name}" for name in names]


def test_the_summary_holds_intervals_over_problems() -> None:
    result = set_result(problems(), answers(SCORES))
    found = summary(result)
    interval = bootstrap([0.5, 0.5, 0.0])
    assert found["metrics"]["pass@2"] == {
        "value": pytest.approx(1 / 3),
        "low": interval.low,
        "high": interval.high,
    }
    assert (found["problems"], found["unscored"]) == (3, 0)
    assert found["sampled"]["length_max"] == 25


def test_the_table_names_every_number() -> None:
    lines = result_table([set_result(problems(), answers(SCORES))]).splitlines()
    assert lines[0].split() == ["set", "problems", "metric", "value", "95%", "interval"]
    assert [line.split()[:3] for line in lines[1:6]] == [
        ["sums", "3", name] for name in ("pass@1", "avg@4", "pass@2", "pass@3", "maj@4")
    ]
    assert lines[1].split()[3:] == ["0.3333", "0.0000", "to", "1.0000"]
    assert any(line.startswith("sums, sampled:") and "25.0% cut off" in line for line in lines)
