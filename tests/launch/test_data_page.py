"""``rlent data`` says what is in the data and what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]
Shown = Callable[..., tuple[int, str]]

LINES = [
    '{"question": "1 + 1 =", "answer": "2"}',
    "",
    '{"question": "1 + 2 =", "answer": "3"',
    '{"question": "1 + 3 =", "answer": ""}',
    '{"question": "1 + 1 =", "answer": "3"}',
    '{"question": "1 + 4 + 1 + 1 + 1 =", "answer": "8"}',
    '{"question": "1 + 6 =", "answer": "7"}',
]


@pytest.fixture
def shown(recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Status and output of ``rlent data`` on the lines above, with settings of the data section."""

    def shown(*flags: str, lines: list[str] = LINES, **section: Any) -> tuple[int, str]:
        Path("rows.jsonl").write_text("\n".join(lines) + "\n")
        recipe["data"] = {"name": "rows.jsonl", "style": "plain", **section}
        status = main(["data", write(recipe), *flags])
        return status, capsys.readouterr().out

    return shown


def test_all_problems_are_shown_at_once_and_would_stop_a_run(shown: Shown) -> None:
    status, text = shown()
    assert status == 1
    assert "rows.jsonl: 4 rows" in text
    assert "left out: 1 bad, 1 without answer" in text
    assert "problem    1 bad (would stop a run)\n             rows.jsonl:3: not JSON" in text
    assert "1 without answer (would stop a run)\n             rows.jsonl:4: no answer" in text
    assert "1 duplicate (kept)" in text
    assert "with another answer" in text


def test_what_the_recipe_drops_does_not_stop(shown: Shown) -> None:
    section = {"bad_rows": "skip", "no_answer": "drop", "duplicates": "drop"}
    status, text = shown(**section, max_prompt_tokens=8)
    assert status == 0
    for part in ("bad (skipped)", "without answer (dropped)", "duplicate (dropped)"):
        assert part in text
    assert "1 above max_prompt_tokens (dropped)\n             rows.jsonl:6: " in text
    assert "would stop" not in text
    assert "rows.jsonl: 2 rows" in text


def test_lengths_are_those_of_the_models_tokens(shown: Shown, tiny_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    lines = [json.dumps({"question": " ".join(["1 +"] * n), "answer": "1"}) for n in range(1, 21)]
    tokens = sorted(len(tokenizer(json.loads(line)["question"])["input_ids"]) for line in lines)
    _, text = shown(lines=lines)
    expected = f"min {tokens[0]}, median {tokens[9]}, p95 {tokens[18]}, max {tokens[19]};"
    assert f"prompts    tokens: {expected}" in text
    assert "problems   none" in text


def test_prompts_that_are_too_long(shown: Shown, recipe: Recipe) -> None:
    status, text = shown("trainer.max_completion_length=50", lines=[LINES[0], LINES[5]])
    room = int(text.split("room for ")[1].split(" ")[0])
    assert status == 0
    length = int(text.split("max ")[1].split(";")[0])
    flag = f"trainer.max_completion_length={50 + room - length + 1}"
    status, text = shown(flag, lines=[LINES[0], LINES[5]])
    assert status == 1
    assert f"1 too long (would stop a run)\n             rows.jsonl:2: {length} tokens" in text
    status, text = shown(flag, lines=[LINES[0], LINES[5]], too_long="drop")
    assert status == 0
    assert "1 too long (dropped)" in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_are_printed(count: int, shown: Shown) -> None:
    _, text = shown("--rows", str(count), lines=[LINES[0], LINES[6]])
    assert text.count("\nrow        rows.jsonl:") == min(count, 2)
    assert ("answer: 2" in text or "answer: 7" in text) == (count > 0)


def test_a_mixture_shows_its_sources(shown: Shown) -> None:
    Path("more.jsonl").write_text(
        "".join(f'{{"prompt": "{i} =", "answer": {i}}}\n' for i in range(9))
    )
    parts = [{"name": "rows.jsonl"}, {"name": "more.jsonl", "weight": 2}]
    _, text = shown(lines=[LINES[0], LINES[6]], name="", mixture=parts)
    assert "mixture of rows.jsonl, more.jsonl: 6 rows" in text
    assert "rows.jsonl: 2 (33.3%)\n" in text
    assert "more.jsonl: 4 (66.7%), 5 more are not used, by its weight" in text


def test_the_evaluations_own_data_is_shown_too(shown: Shown, recipe: Recipe) -> None:
    recipe["evaluation"] = {"problems": 2, "data": {"name": "additions.jsonl", "style": "plain"}}
    status, text = shown(lines=[LINES[0], LINES[6]])
    assert status == 0
    assert "evaluation.data additions.jsonl: 55 rows" in text


def test_the_plan_counts_what_is_dropped(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.jsonl").write_text("\n".join(LINES) + "\n")
    recipe["data"] = {
        "name": "rows.jsonl",
        "style": "plain",
        "bad_rows": "skip",
        "no_answer": "drop",
        "duplicates": "drop",
    }
    recipe["evaluation"] = None
    assert main(["check", write(recipe)]) == 0
    text = capsys.readouterr().out
    assert "3 problems (dropped: 1 bad, 1 without answer, 1 duplicate)" in text
    recipe["data"]["bad_rows"] = "stop"
    assert main(["check", write(recipe)]) == 2
    assert "rows.jsonl:3: not JSON" in capsys.readouterr().err


def test_mistakes_of_the_evaluations_data_have_its_key(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["evaluation"] = {"problems": 2, "data": {"name": "gone.jsonl"}}
    assert main(["data", write(recipe)]) == 2
    assert (
        "evaluation.data.name: there is no file or folder 'gone.jsonl'" in capsys.readouterr().err
    )


def test_further_sets_are_shown_with_the_room_for_their_answers(
    shown: Shown, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"name": "additions.jsonl", "style": "plain"}
    recipe["evaluation"] = {"problems": 2, "max_completion_length": 11}
    recipe["evaluation"]["sets"] = {
        "one": {"data": data},
        "two": {"data": data | {"size": 3}, "max_completion_length": 13},
    }
    status, text = shown(lines=[LINES[0], LINES[5]])
    assert status == 0
    parts = text.split("\nevaluation.sets.")
    assert parts[1].startswith("one.data additions.jsonl: 55 rows")
    assert parts[2].startswith("two.data additions.jsonl: 3 rows")
    completions = [part.split("completions of ")[1].split(")")[0] for part in parts]
    assert completions == ["8", "11", "13"]
    recipe["evaluation"]["sets"]["two"]["data"]["name"] = "gone.jsonl"
    assert shown()[0] == 2
