"""The rows of a recipe: nothing leaks, and what is left out is in the plan."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]


@pytest.fixture
def plan(recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What ``rlent check`` prints about the recipe, or its message."""

    def plan() -> str:
        status = main(["check", write(recipe)])
        shown = capsys.readouterr()
        assert (status, bool(shown.err)) in ((0, False), (2, True))
        return shown.out or shown.err

    return plan


Plan = Callable[[], str]


def test_a_held_out_question_is_not_trained_on_under_another_template(
    recipe: Recipe, plan: Plan
) -> None:
    recipe["data"] |= {"prompt": "{question} Think."}
    recipe["evaluation"]["data"] = {"name": "additions.jsonl", "style": "plain", "seed": 5}
    text = plan()
    assert "additions.jsonl: 47 problems (8 left out, because their prompt is held out)" in text
    assert "held out   8 problems, none of them in training" in text


def test_rows_dropped_from_the_evaluations_data_are_counted(recipe: Recipe, plan: Plan) -> None:
    Path("test.jsonl").write_text(
        "".join(f'{{"question": "{i} - 0 =", "answer": "{i or ""}"}}\n' for i in range(10)) + "{\n"
    )
    section = {"name": "test.jsonl", "style": "plain", "bad_rows": "skip", "no_answer": "drop"}
    recipe["evaluation"]["data"] = section
    assert "held out   8 problems (dropped: 1 bad, 1 without answer), none" in plan()
    section["no_answer"] = "stop"
    assert "evaluation.data.answer: test.jsonl:1: no answer" in plan()


def test_bounds_on_tokens_hold_before_anything_is_held_out(recipe: Recipe, plan: Plan) -> None:
    Path("rows.jsonl").write_text(
        "".join(
            f'{{"question": "{i}{" + 1" * (i % 2) * 9} =", "answer": "1"}}\n' for i in range(40)
        )
    )
    recipe["data"] |= {"name": "rows.jsonl", "max_prompt_tokens": 12}
    text = plan()
    assert "rows.jsonl: 12 problems (dropped: 20 above max_prompt_tokens)" in text
    assert "held out   8 problems" in text


def test_the_evaluation_has_no_chat_template_of_its_own(recipe: Recipe, plan: Plan) -> None:
    recipe["evaluation"]["data"] = {"name": "additions.jsonl", "chat_template": "chat.jinja"}
    assert "evaluation.data.chat_template: one chat template serves" in plan()


def test_sources_of_a_mixture_are_in_the_plan(recipe: Recipe, plan: Plan) -> None:
    Path("more.jsonl").write_text(
        "".join(f'{{"prompt": "{i} - 0 =", "answer": "{i}"}}\n' for i in range(9))
    )
    parts = [{"name": "additions.jsonl"}, {"name": "more.jsonl"}]
    recipe["data"] = {"mixture": parts, "style": "plain"}
    text = plan()
    assert "mixture of additions.jsonl, more.jsonl: 10 problems" in text
    assert "additions.jsonl: 9 (50.0%), 46 more are not used, by its weight" in text
    assert "more.jsonl: 9 (50.0%)\n" in text


def test_a_chat_template_of_a_file_counts(recipe: Recipe, plan: Plan) -> None:
    Path("chat.jinja").write_text(
        "{% for m in messages %}" + "1 + " * 9 + "{{ m.content }}{% endfor %}"
    )
    recipe["data"] |= {"style": "chat", "chat_template": "chat.jinja", "max_prompt_tokens": 15}
    assert "no prompt has between 0 and 15 tokens" in plan()
    recipe["data"] |= {"max_prompt_tokens": 60}
    assert "additions.jsonl: 47 problems" in plan()


def test_a_function_in_the_working_directory_is_found_by_the_script(
    recipe: Recipe, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("rewards_of_this_folder.py").write_text(
        "def even(completions, **columns):\n    return [0.0] * len(completions)\n"
    )
    recipe["rewards"] = [{"python_function": {"function": "rewards_of_this_folder:even"}}]
    # An installed script has its own folder on the path, and not the working directory.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    assert "rewards    even x 1" in plan()
    assert sys.path[0] != ""


def test_problems_of_a_further_set_are_not_trained_on(recipe: Recipe, plan: Plan) -> None:
    before = plan()
    assert "additions.jsonl: 47 problems\n" in before
    other = {"name": "additions.jsonl", "style": "plain", "prompt": "{question} Think.", "seed": 5}
    recipe["evaluation"]["sets"] = {"adds": {"data": other | {"size": 20}}}
    held_out = [line for line in before.splitlines() if line.startswith("held out")]
    text = plan()
    shown = re.search(
        r"additions.jsonl: (\d+) problems \((\d+) left out, because they are in evaluation.sets\)",
        text,
    )
    assert shown is not None
    trained, left_out = map(int, shown.groups())
    # Some of the 20 are held out as well.
    assert trained + left_out == 47
    assert 12 <= left_out <= 20
    assert held_out[0] in text
    recipe["evaluation"]["sets"]["adds"]["data"].pop("size")
    assert "evaluation.sets: every training prompt is evaluated" in plan()
