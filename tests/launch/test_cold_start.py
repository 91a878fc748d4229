"""``rlent cold-start`` from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlent.evaluation.answers import Answer, write_answers
from rlent.launch.cli import main

ROWS: list[dict[str, Any]] = [
    {"prompt": "hard", "length": 900, "pass_rate": 0, "solution": "long"},
    {"prompt": "hard", "length": 100, "pass_rate": 0, "solution": "short"},
    {"prompt": "hard", "length": 800, "pass_rate": 0.0, "solution": "middle"},
    {"prompt": "half", "length": 120, "pass_rate": 0.5, "solution": "short"},
    {"prompt": "half", "length": 430, "pass_rate": 0.5, "solution": "long"},
    {"prompt": "easy", "length": 60, "pass_rate": 1, "solution": "short"},
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_nearest_to_their_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = written(tmp_path / "rows.jsonl", ROWS), tmp_path / "new" / "chosen.jsonl"
    assert main(["cold-start", str(file), "-o", str(output)]) == 0
    assert read(output) == [
        ROWS[2] | {"target_length": 800.0},
        ROWS[4] | {"target_length": 430.0},
        ROWS[5] | {"target_length": 60.0, "pass_rate": 1.0},
    ]
    printed = capsys.readouterr().out
    assert "from 800 tokens at pass rate 0 to 60 at pass rate 1" in printed
    assert "Wrote 3 of 6 solutions" in printed


def test_lengths_of_ones_own(tmp_path: Path) -> None:
    file, output = written(tmp_path / "rows.jsonl", ROWS[3:5]), tmp_path / "chosen.jsonl"
    given = ["cold-start", str(file), "-o", str(output), "--hardest", "200", "--easiest", "20"]
    assert main(given) == 0
    assert read(output) == [ROWS[3] | {"target_length": 110.0}]


def answer(problem: int, sample: int, prompt: str, score: float) -> Answer:
    return Answer(
        problem=problem,
        sample=sample,
        prompt=prompt,
        reference="1",
        completion="",
        answer=None,
        score=score,
        length=1,
        finish="eos",
        entropy=0.0,
    )


def test_pass_rates_of_an_evaluated_set(tmp_path: Path) -> None:
    answers = [answer(0, k, "user: hard", 0.0) for k in range(4)]
    answers += [answer(1, k, "user: half", float(k < 3)) for k in range(4)]
    write_answers(tmp_path / "set" / "completions" / "drawn-0.parquet", answers)
    rows = [
        {"prompt": [{"role": "user", "content": "hard"}], "length": 50},
        {"prompt": [{"role": "user", "content": "half"}], "length": 20},
    ]
    file, output = written(tmp_path / "rows.jsonl", rows), tmp_path / "chosen.jsonl"
    given = ["--rates", str(tmp_path / "set"), "--hardest", "50", "--easiest", "10"]
    assert main(["cold-start", str(file), "-o", str(output), *given]) == 0
    assert [(row["pass_rate"], row["target_length"]) for row in read(output)] == [
        (0.0, 50.0),
        (0.75, 20.0),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"length": 3, "pass_rate": 0.5}, "no column prompt"),
        ({"prompt": "a", "pass_rate": 0.5}, "length must be"),
        ({"prompt": "a", "length": 0, "pass_rate": 0.5}, "length must be"),
        ({"prompt": "a", "length": True, "pass_rate": 0.5}, "length must be"),
        ({"prompt": "a", "length": 3}, "pass_rate must be in"),
        ({"prompt": "a", "length": 3, "pass_rate": 1.5}, "pass_rate must be in"),
    ],
)
def test_a_bad_row_is_named_by_its_line(
    row: dict[str, Any], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "rows.jsonl", [ROWS[0], row])
    assert main(["cold-start", str(file), "-o", str(tmp_path / "chosen.jsonl")]) == 2
    printed = capsys.readouterr().err
    assert problem in printed
    assert f"{file}:2" in printed


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["missing.jsonl", "-o", "new.jsonl"], "does not exist"),
        (["rows.jsonl", "-o", "rows.jsonl"], "the file exists"),
        (["rows.jsonl", "-o", "new.jsonl", "--rates", "nothing"], "not the folder of an evaluated"),
        (["broken.jsonl", "-o", "new.jsonl"], "not JSON"),
        (["half.jsonl", "-o", "new.jsonl"], "no solution has a pass rate of 0"),
    ],
)
def test_what_cannot_be_done(
    given: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("rows.jsonl"), ROWS)
    written(Path("half.jsonl"), ROWS[3:])
    Path("broken.jsonl").write_text("{", encoding="utf-8")
    assert main(["cold-start", *given]) == 2
    assert problem in capsys.readouterr().err
    assert not Path("new.jsonl").exists()


def test_a_prompt_that_was_not_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path / "completions" / "drawn-0.parquet", [answer(0, 0, "other", 0.0)])
    file = written(tmp_path / "rows.jsonl", ROWS)
    given = ["cold-start", str(file), "-o", str(tmp_path / "new.jsonl"), "--rates", str(tmp_path)]
    assert main(given) == 2
    assert "not in the evaluated set" in capsys.readouterr().err
