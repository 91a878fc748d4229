"""A set at token budgets: the same thinking cut earlier or later, and the curve over budgets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlent.config import Evaluation
from rlent.evaluation import (
    Answer,
    ProblemSet,
    at_budgets,
    in_order,
    set_name,
    set_result,
    write_curves,
)
from rlent.evaluation.budgets import area, curves
from rlent.rollout import Budgets
from tests.evaluation.examples import all_answers, sums
from tests.tiny import tiny_tokenizer

BUDGETS = Budgets(
    levels=(2, 5), summary_length=3, thinking_end="so", cut="hence so", answer_prefix="answer is"
)


def judged_ids(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    return [float(sum(ids) % 2) for ids in completion_ids]


def answered(samples: int = 2, **settings: Any) -> dict[str, tuple[ProblemSet, list[Answer]]]:
    sets = at_budgets(sums(samples=samples, length=12, reward=judged_ids, **settings), BUDGETS)
    return {each.name: (each, in_order(all_answers(each))) for each in sets}


def test_a_set_stands_once_for_every_budget() -> None:
    problems = sums()
    assert at_budgets(problems, None) == [problems]
    sets = at_budgets(problems, BUDGETS)
    assert [each.name for each in sets] == ["sums@2", "sums@5"]
    assert [each.budget and each.budget.levels for each in sets] == [(2,), (5,)]
    assert {set_name(each.name) for each in sets} == {"sums"} == {set_name("sums")}


def test_the_reward_sees_the_prefix_and_the_summary_and_lengths_count_what_was_drawn() -> None:
    prefix = tiny_tokenizer()("answer is")["input_ids"]
    summaries: list[int] = []

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        assert all(ids[:2] == prefix for ids in completion_ids)
        summaries.extend(len(ids) - 2 for ids in completion_ids)
        return [0.0] * len(completion_ids)

    for problems in at_budgets(sums(samples=2, length=12, reward=reward), BUDGETS):
        assert problems.budget is not None
        summaries.clear()
        answers = all_answers(problems)
        thinking = [one.length - size for one, size in zip(answers, summaries, strict=True)]
        assert len(answers) == 7 * 3
        assert set(summaries) <= {1, 2, 3}
        assert min(thinking) >= 1
        assert max(thinking) == problems.budget.levels[0]
        assert all(answer.completion.startswith("answer is") for answer in answers)


def test_answers_do_not_depend_on_the_chunks() -> None:
    whole, single = answered(), answered(batch_size=1)
    for name, (_, answers) in whole.items():
        others = single[name][1]
        assert [answer.completion for answer in others] == [answer.completion for answer in answers]
    drawn = [answer.completion for answer in whole["sums@5"][1] if answer.sample is not None]
    assert len(set(drawn)) > 1


def test_thinking_that_ended_is_the_same_at_every_larger_budget() -> None:
    budgets = replace(BUDGETS, levels=(30, 40), thinking_end=None)
    small, large = (
        in_order(all_answers(each)) for each in at_budgets(sums(samples=4, length=12), budgets)
    )
    ended = [pair for pair in zip(small, large, strict=True) if pair[1].length < 30]
    assert len(ended) > 5
    for one, two in ended:
        assert (one.completion, one.length) == (two.completion, two.length)


def test_curves_and_their_areas(tmp_path: Path) -> None:
    results = [set_result(problems, answers) for problems, answers in answered().values()]
    found = curves(results)
    assert set(found) == {"sums"}
    for metric, curve in found["sums"].items():
        assert curve == {2: results[0].metrics[metric], 5: results[1].metrics[metric]}
    lines = write_curves(tmp_path, results)
    assert len(lines) == len(found["sums"])
    table = json.loads((tmp_path / "budgets.json").read_text())
    for metric, entry in table["sums"].items():
        low, high = results[0].metrics[metric], results[1].metrics[metric]
        assert entry == {"area": pytest.approx((low + high) / 2), "at": {"2": low, "5": high}}


def test_area_by_trapezoids() -> None:
    assert area({1000: 0.25}) == 0.25
    assert area({1000: 0.0, 3000: 0.5, 4000: 1.0}) == pytest.approx((2 * 0.25 + 1 * 0.75) / 3)
    assert area({4000: 1.0, 1000: 0.0, 3000: 0.5}) == pytest.approx((2 * 0.25 + 1 * 0.75) / 3)


def test_without_budgets_nothing_is_written(tmp_path: Path) -> None:
    problems = sums()
    assert write_curves(tmp_path, [set_result(problems, all_answers(problems))]) == []
    assert not list(tmp_path.iterdir())


def test_several_summaries_are_refused() -> None:
    with pytest.raises(ValueError, match="summaries must be 1, got 2"):
        Evaluation(budgets=Budgets(levels=(2,), summaries=2))
