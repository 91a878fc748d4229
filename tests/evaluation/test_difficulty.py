"""Difficulty labels, the settings of each label, and the command that writes them."""

import json
import math
from pathlib import Path

import pytest

from rlent.errors import ConfigError
from rlent.evaluation import Answer, in_order, write_answers
from rlent.evaluation.difficulty import DIFFICULTY_SETTINGS, DifficultyThresholds
from rlent.evaluation.difficulty_labels import cut_correct, kept_tokens, labelled
from rlent.launch.cli import main
from tests.evaluation.examples import make_answer

THRESHOLDS = DifficultyThresholds(alpha=0.5, beta=0.4, gamma=0.25)

Drawn = list[tuple[float | None, float, int]]
PROBLEMS: dict[int, Drawn] = {
    0: [(1.0, 0.1, 10), (0.0, 0.5, 5)],
    1: [(1.0, 0.9, 9), (1.0, 0.3, 3)],
    2: [(0.0, 0.2, 10), (0.5, 0.2, 4)],
    3: [(None, 0.2, 10), (1.0, 0.2, 10)],
    4: [(math.nan, 0.2, 10), (1.0, 0.2, 10)],
}
"""Score, entropy and tokens of every drawn completion."""


def answers(problems: dict[int, Drawn]) -> list[Answer]:
    made = [make_answer(place, None, score=1.0, entropy=9.0, length=99) for place in problems]
    for place, drawn in problems.items():
        made += [
            make_answer(place, number, score=score, entropy=entropy, length=length)
            for number, (score, entropy, length) in enumerate(drawn)
        ]
    return in_order(made)


@pytest.mark.parametrize(
    ("accuracy", "entropy", "label"),
    [
        (0.5, 0.4, "normal"),
        (1.0, 0.0, "normal"),
        (0.5, 0.41, "easy"),
        (0.49, 0.4, "easy"),
        (0.25, 0.0, "easy"),
        (0.24, 0.0, "hard"),
        (0.0, 5.0, "hard"),
    ],
)
def test_labels_at_their_limits(accuracy: float, entropy: float, label: str) -> None:
    assert THRESHOLDS.label(accuracy, entropy) == label


def test_normal_comes_before_hard_where_both_hold() -> None:
    both = DifficultyThresholds(alpha=0.2, beta=0.4, gamma=0.8)
    assert [both.label(0.5, entropy) for entropy in (0.4, 0.5)] == ["normal", "hard"]


def test_the_ends_of_the_ranges_are_thresholds() -> None:
    assert DifficultyThresholds(alpha=0.0, beta=0.0, gamma=0.0).label(0.0, 0.1) == "easy"
    assert DifficultyThresholds(alpha=1.0, beta=0.0, gamma=1.0).label(0.9, 0.0) == "hard"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", -0.01),
        ("alpha", 1.01),
        ("alpha", math.nan),
        ("beta", -0.01),
        ("beta", math.inf),
        ("beta", math.nan),
        ("gamma", -0.01),
        ("gamma", 1.01),
        ("gamma", math.nan),
    ],
)
def test_a_threshold_outside_its_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        DifficultyThresholds(**({"alpha": 0.5, "beta": 0.4, "gamma": 0.25} | {name: value}))
    assert caught.value.key == name


@pytest.mark.parametrize(
    ("accuracy", "entropy", "name"),
    [
        (-0.1, 0.0, "accuracy"),
        (1.1, 0.0, "accuracy"),
        (math.nan, 0.0, "accuracy"),
        (0.5, -0.1, "entropy"),
        (0.5, math.inf, "entropy"),
        (0.5, math.nan, "entropy"),
    ],
)
def test_what_has_no_label_is_named(accuracy: float, entropy: float, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        THRESHOLDS.label(accuracy, entropy)
    assert caught.value.key == name


def test_settings_are_those_of_the_paper() -> None:
    assert {
        label: (each.temperature, each.limit(100), each.limit(15), each.limit(1))
        for label, each in DIFFICULTY_SETTINGS.items()
    } == {"easy": (0.5, 40, 6, 1), "normal": (0.8, 100, 15, 1), "hard": (0.4, 50, 7, 1)}


def test_problems_are_labelled_by_their_scored_drawn_completions() -> None:
    found = labelled(answers(PROBLEMS), THRESHOLDS)
    assert [(each.drawn[0].problem, each.label, each.accuracy) for each in found] == [
        (0, "normal", 0.5),
        (1, "easy", 1.0),
        (2, "hard", 0.0),
    ]
    for each in found:
        total, tokens = 0.0, 0
        for _, entropy, length in PROBLEMS[each.drawn[0].problem]:
            total += entropy * length
            tokens += length
        assert each.entropy == pytest.approx(total / tokens, rel=1e-14)


def test_tokens_weigh_alike_in_the_entropy() -> None:
    """The completions' mean of 0.3 would be normal, the tokens' mean of 0.42 is not."""
    (found,) = labelled(answers({0: [(1.0, 0.5, 80), (1.0, 0.1, 20)]}), THRESHOLDS)
    assert found.label == "easy"


def test_kept_tokens_and_cut_completions_by_a_loop() -> None:
    found = labelled(answers(PROBLEMS), THRESHOLDS)
    limits = {0: 10, 1: 4, 2: 5}
    kept, written, correct, cut = 0, 0, 0, 0
    for place, limit in limits.items():
        for score, _, length in PROBLEMS[place]:
            written += length
            kept += limit if length > limit else length
            if score == 1.0:
                correct += 1
                cut += length > limit
    assert kept_tokens(found, 10) == kept / written
    assert cut_correct(found, 10) == cut / correct
    assert (kept, written, cut, correct) == (31, 41, 1, 3)


def test_all_hard() -> None:
    found = labelled(answers({0: [(0.0, 0.1, 8)], 1: [(0.0, 2.0, 2)]}), THRESHOLDS)
    assert [each.label for each in found] == ["hard", "hard"]
    assert kept_tokens(found, 8) == (4 + 2) / (8 + 2)
    assert cut_correct(found, 8) is None


@pytest.mark.parametrize("problems", [{}, {0: []}, {0: [(None, 0.1, 3)]}])
def test_a_set_without_scored_drawn_completions_is_refused(problems: dict[int, Drawn]) -> None:
    with pytest.raises(ConfigError, match="no problem has drawn completions"):
        labelled(answers(problems), THRESHOLDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "held_out"
    for number, chunk in enumerate((answers(PROBLEMS)[:5], answers(PROBLEMS)[5:])):
        write_answers(made / "completions" / f"sampled-{number}.parquet", chunk)
    write_settings(made, budget=None)
    return made


def write_settings(folder: Path, **settings: object) -> None:
    (folder / "settings.json").write_text(json.dumps({"length": 10} | settings))


GIVEN = ["--alpha", "0.5", "--beta", "0.4", "--gamma", "0.25"]


def test_the_command_writes_labels_and_says_what_they_save(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "rows.jsonl"
    assert main(["difficulty", str(folder), *GIVEN, "-o", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows[1] == {
        "prompt": "problem 1",
        "answer": "1",
        "place": 1,
        "difficulty": "easy",
        "accuracy": 1.0,
        "entropy": pytest.approx(0.75),
        "temperature": 0.5,
        "max_completion_length": 4,
    }
    assert [(row["place"], row["difficulty"]) for row in rows] == [
        (0, "normal"),
        (1, "easy"),
        (2, "hard"),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "easy    1 problems, temperature 0.5, at most 4 tokens: "
        "58.3% of tokens are kept, 50.0% of the correct completions are cut",
        "normal  1 problems, temperature 0.8, at most 10 tokens: "
        "100.0% of tokens are kept, 0.0% of the correct completions are cut",
        "hard    1 problems, temperature 0.4, at most 5 tokens: "
        "64.3% of tokens are kept, none is correct",
        "all     3 problems, at most 10 tokens: "
        "75.6% of tokens are kept, 33.3% of the correct completions are cut",
        f"Wrote 3 problems to {output}",
    ]


def test_a_label_without_problems_says_no_tokens(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--alpha", "0", "--beta", "9", "--gamma", "0"]
    assert main(["difficulty", str(folder), *given, "-o", str(tmp_path / "rows.jsonl")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "easy    0 problems, temperature 0.5, at most 4 tokens"
    assert printed[1].startswith("normal  3 problems")


def test_mistakes_write_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.jsonl"

    def refused(where: Path, given: list[str]) -> str:
        assert main(["difficulty", str(where), *given, "-o", str(output)]) == 2
        return capsys.readouterr().err

    assert "alpha: not an accuracy" in refused(folder, [*GIVEN, "--alpha", "1.5"])
    assert "not the folder of an evaluated set" in refused(tmp_path, GIVEN)
    write_settings(folder, budget={"lengths": [5]})
    assert "under a budget" in refused(folder, GIVEN)
    write_settings(folder, budget=None, difficulty={"model": "tiny"})
    assert "drawn by difficulty already" in refused(folder, GIVEN)
    write_settings(folder, budget=None)
    for path in (folder / "completions").iterdir():
        path.unlink()
    assert "completions/*.parquet" in refused(folder, GIVEN)
    assert not output.exists()
    output.write_text("mine")
    assert "the file exists" in refused(folder, GIVEN)
    assert output.read_text() == "mine"
