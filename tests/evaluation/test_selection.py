"""Ranking problems by how much their drawn completions differ, and the rows of the chosen ones."""

import json
import math
from pathlib import Path

import pytest

from rlent.data import prompt_text
from rlent.errors import ConfigError
from rlent.evaluation import Answer, by_pass_variance, in_order, write_answers
from rlent.evaluation.selection import prompt_of
from rlent.launch.cli import main
from tests.evaluation.examples import make_answer

SCORES: dict[int, list[float | None]] = {
    0: [1.0, 1.0, 1.0, 1.0],
    1: [0.0, 1.0, 0.0, 0.0],
    2: [1.0, 0.5, 0.0, 1.0],
    3: [None, 1.0, 0.0, 1.0],
    4: [math.nan, 1.0, 0.0, 1.0],
    5: [1.0, 1.0, 0.0, 1.0],
}


def answers() -> list[Answer]:
    made = [make_answer(problem, None, score=1.0) for problem in SCORES]
    for problem, scores in SCORES.items():
        made += [make_answer(problem, i, score=score) for i, score in enumerate(scores)]
    return in_order(made)


def test_half_correct_comes_first_and_ties_keep_their_order() -> None:
    ranked = by_pass_variance(answers())
    assert [(each.problem, each.correct, each.samples) for each in ranked] == [
        (2, 2, 4),
        (1, 1, 4),
        (5, 3, 4),
        (0, 4, 4),
    ]
    assert [each.pass_variance for each in ranked] == [0.25, 3 / 16, 3 / 16, 0.0]


def test_the_greedy_completion_is_not_a_drawn_one() -> None:
    assert by_pass_variance([make_answer(0, None, score=1.0)]) == []
    (only,) = by_pass_variance([make_answer(0, 0, score=1.0), make_answer(0, 1, score=0.0)])
    assert (only.correct, only.samples) == (1, 2)


@pytest.mark.parametrize(
    "prompt",
    [
        "What is 1+1?",
        "Say\nuser: hello",
        [{"role": "user", "content": "What is 1+1?\n\nThink."}],
        [{"role": "system", "content": "Be short.\nBe right."}, {"role": "user", "content": "1+1"}],
    ],
)
def test_prompts_survive_being_text(prompt: object) -> None:
    assert prompt_of(prompt_text(prompt)) == prompt  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["user: a\nassistant: b\nuser: c", "user: a\nuser: b", "system: a", "assistant: b"],
)
def test_other_conversations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be put together again"):
        prompt_of(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chunks = answers()[:10], answers()[10:]
    for number, chunk in enumerate(chunks):
        write_answers(tmp_path / "held_out" / "completions" / f"sampled-{number}.parquet", chunk)
    return tmp_path / "held_out"


def test_the_command_writes_the_first_rows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "rows.jsonl"
    assert main(["select", str(folder), "--top", "2", "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows[0] == {
        "prompt": "problem 2",
        "answer": "1",
        "place": 2,
        "correct": 2,
        "samples": 4,
        "pass_variance": 0.25,
    }
    assert [row["place"] for row in rows] == [2, 1]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "problem 2: 2 of 4 correct, variance 0.2500"
    assert printed[-1] == f"Wrote 2 of 4 problems to {output}"


@pytest.mark.parametrize(
    ("top", "problem"), [("5", "fewer problems"), ("0", "at least one row"), ("-1", "at least one")]
)
def test_a_number_that_cannot_be_written_is_an_error(
    top: str, problem: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.jsonl"
    assert main(["select", str(folder), f"--top={top}", "--output", str(output)]) == 2
    assert problem in capsys.readouterr().err
    assert not output.exists()


def test_nothing_is_overwritten_and_another_folder_is_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.jsonl"
    output.write_text("mine")
    assert main(["select", str(folder), "--output", str(output)]) == 2
    assert output.read_text() == "mine"
    assert main(["select", str(tmp_path), "--output", str(tmp_path / "new.jsonl")]) == 2
    errors = capsys.readouterr().err
    assert "the file exists" in errors
    assert "not the folder of an evaluated set" in errors
