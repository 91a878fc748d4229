"""Benchmarks as sources, on tables with the columns that the entries name: none is downloaded."""

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from rlent.data import DataSection, benchmarks, load_rows
from rlent.data.benchmarks import BENCHMARKS, PREFIX
from rlent.errors import ConfigError
from rlent_rewards import MathAnswer, MultipleChoice

TABLES: dict[str, tuple[str, dict[str, list[Any]], str, str]] = {
    "aime24": ("train", {"id": [60], "problem": ["Find x."], "solution": ["s"], "answer": ["025"]}, "Find x.", "025"),
    "aime25": ("test", {"problem": ["Find y."], "answer": ["70"], "id": ["0"]}, "Find y.", "70"),
    "amc23": ("test", {"id": [0], "question": ["Cities A"], "answer": ["27.0"]}, "Cities A", "27.0"),
    "gsm8k": ("test", {"question": ["Eggs?"], "answer": ["16 - 7 = <<16-7=9>>9\n#### 1,018"]}, "Eggs?", "1018"),
    "math500": (
        "test",
        {"problem": ["Convert"], "solution": ["s"], "answer": [r"\frac{1}{2}"], "subject": ["Algebra"], "level": [2]},
        "Convert",
        r"\frac{1}{2}",
    ),
    "minerva": ("test", {"question": ["Each star"], "answer": ["33"]}, "Each star", "33"),
    "olympiadbench": (
        "train",
        {"id": [1], "question": ["Let T"], "final_answer": [["2", "-2"]], "unit": [None]},
        "Let T",
        "2, -2",
    ),
}  # fmt: skip
"""Split and columns of a table with one row, and the question and the answer that come of it."""

GPQA = {
    "Question": [" Which one?\n", "Which two?"],
    "Correct Answer": ["right\n", "yes"],
    "Incorrect Answer 1": ["wrong", "no"],
    "Incorrect Answer 2": ["false", "never"],
    "Incorrect Answer 3": ["bad", "not at all"],
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, DatasetDict]:
    """Datasets by id and configuration, in place of the hub's."""
    tables: dict[str, DatasetDict] = {}

    def read(name: str, config: str | None, *, expected: str) -> DatasetDict:
        return tables[f"{name}/{config}"]

    monkeypatch.setattr(benchmarks, "read_hub_dataset", read)
    return tables


def put(hub: dict[str, DatasetDict], name: str, split: str, columns: dict[str, list[Any]]) -> None:
    entry = BENCHMARKS[name]
    hub[f"{entry.hub}/{entry.config}"] = DatasetDict({split: Dataset.from_dict(columns)})


def test_every_benchmark_has_a_table_here() -> None:
    assert {*TABLES, "gpqa_diamond"} == set(BENCHMARKS)


@pytest.mark.parametrize("name", TABLES)
def test_question_and_answer(name: str, hub: dict[str, DatasetDict]) -> None:
    split, columns, question, answer = TABLES[name]
    put(hub, name, split, columns)
    (row,) = load_rows(DataSection(name=PREFIX + name)).to_list()
    assert row["prompt"] == [{"role": "user", "content": question}]
    assert row["answer"] == answer
    MathAnswer()(["\\boxed{1}"], answer=[row["answer"]])  # a reference that it can use
    kept = {"id", "solution", "subject", "level", "unit"} & set(columns)
    assert {column: row[column] for column in kept} == {
        column: columns[column][0] for column in kept
    }


def test_templates_are_over_question(hub: dict[str, DatasetDict]) -> None:
    put(hub, "aime25", *TABLES["aime25"][:2])
    section = DataSection(name="benchmarks/aime25", prompt="Q: {question}", style="plain")
    assert load_rows(section)["prompt"] == ["Q: Find y."]


def test_choices_have_letters_that_follow_from_the_question(hub: dict[str, DatasetDict]) -> None:
    put(hub, "gpqa_diamond", "train", GPQA)
    rows = load_rows(DataSection(name="benchmarks/gpqa_diamond", style="plain")).to_list()
    put(hub, "gpqa_diamond", "train", {name: values[1:] for name, values in GPQA.items()})
    (alone,) = load_rows(DataSection(name="benchmarks/gpqa_diamond", style="plain")).to_list()
    for row in rows:
        question, blank, *choices = row["prompt"].splitlines()
        place = ["Which one?", "Which two?"].index(question)
        assert blank == ""
        assert [choice[:4] for choice in choices] == ["(A) ", "(B) ", "(C) ", "(D) "]
        given = {choice[1]: choice[4:] for choice in choices}
        assert given[row["answer"]] == ["right", "yes"][place]
        expected = [values[place].strip() for name, values in GPQA.items() if "Answer" in name]
        assert sorted(given.values()) == sorted(expected)
        assert MultipleChoice()([f"Answer: {row['answer']}"], answer=[row["answer"]]) == [1.0]
    assert alone["prompt"] in [row["prompt"] for row in rows]


def test_right_letters_are_spread(hub: dict[str, DatasetDict]) -> None:
    columns = {name: [values[0]] * 200 for name, values in GPQA.items()}
    columns["Question"] = [f"Question {i}" for i in range(200)]
    put(hub, "gpqa_diamond", "train", columns)
    letters = load_rows(DataSection(name="benchmarks/gpqa_diamond"))["answer"]
    assert all(30 <= list(letters).count(letter) <= 70 for letter in "ABCD")


@pytest.mark.parametrize(
    ("section", "key", "parts"),
    [
        ({"name": "benchmarks/math5000"}, "data.name", ["math5000", "did you mean: benchmarks/math500"]),
        ({"name": "benchmarks/gsm8k", "config": "socratic"}, "data.config", ["openai/gsm8k"]),
        ({"name": "benchmarks/gsm8k", "split": "test"}, "data.split", ["no other split"]),
        ({"name": "benchmarks/gsm8k", "options": {"a": 1}}, "data.options", ["no other options"]),
    ],
)  # fmt: skip
def test_what_a_benchmark_does_not_have(
    section: dict[str, Any], key: str, parts: list[str], hub: dict[str, DatasetDict]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(**section))
    assert caught.value.key == key
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("split", "columns", "missing"),
    [
        ("train", {"problem": ["p"], "answer": ["1"]}, "no split 'test'"),
        ("test", {"Problem": ["p"], "answer": ["1"]}, "no column 'problem'"),
        ("test", {"problem": ["p"], "solution": ["1"]}, "no column 'answer'"),
    ],
)
def test_another_layout_than_known_is_refused(
    split: str, columns: dict[str, list[Any]], missing: str, hub: dict[str, DatasetDict]
) -> None:
    put(hub, "math500", split, columns)
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(name="benchmarks/math500"))
    assert missing in caught.value.problem
    assert "data.name: HuggingFaceH4/MATH-500" in str(caught.value.remedy)


def test_without_a_hub_the_message_is_the_hubs() -> None:
    with pytest.raises(ConfigError, match="could not be reached") as caught:
        load_rows(DataSection(name="benchmarks/math500"))
    assert caught.value.key == "data.name"
