"""Known benchmarks of the hub as sources: ``benchmarks/math500`` and so on, with the columns `question` and `answer`.

Every entry says where a benchmark lies and which of its columns hold the question and the answer. None of them was
downloaded when this was written: hub ids, splits and columns are those that published evaluation code reads, and no row
was seen. A dataset that has other columns is refused, with those that it has.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlent.data.hub_datasets import read_hub_dataset
from rlent.data.section import DataSource
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "benchmarks/"
_LETTERS = "ABCD"

Row = Mapping[str, Any]


def _as_it_is(row: Row, question: str, answer: str) -> tuple[str, str]:
    return row[question], str(row[answer])


def _after_the_mark(row: Row, question: str, answer: str) -> tuple[str, str]:
    """GSM8K's answers are solutions that end in ``#### 42``; numbers have thousands separators."""
    _, _, last = row[answer].rpartition("####")
    return row[question], last.strip().replace(",", "")


def _joined(row: Row, question: str, answer: str) -> tuple[str, str]:
    """OlympiadBench's answers are lists, of one text nearly always."""
    return row[question], ", ".join(map(str, row[answer]))


def _lettered(row: Row, question: str, answer: str) -> tuple[str, str]:
    """GPQA names the right choice and three wrong ones; their order here follows from the question alone."""
    choices = [row[answer], *(row[f"Incorrect Answer {number}"] for number in (1, 2, 3))]
    order = random.Random(row[question]).sample(range(4), 4)
    lines = [
        f"({letter}) {choices[place].strip()}"
        for letter, place in zip(_LETTERS, order, strict=True)
    ]
    return "\n".join([row[question].strip(), "", *lines]), _LETTERS[order.index(0)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark."""

    hub: str
    """Id on the hub."""
    split: str = "test"
    config: str | None = None
    question: str = "problem"
    """Column of the question."""
    answer: str = "answer"
    """Column of the answer."""
    further: tuple[str, ...] = ()
    """Columns that ``convert`` reads besides these."""
    convert: Callable[[Row, str, str], tuple[str, str]] = _as_it_is
    """A row and the names of its two columns, to question and answer."""


BENCHMARKS: dict[str, Benchmark] = {
    "aime24": Benchmark(hub="HuggingFaceH4/aime_2024", split="train"),
    "aime25": Benchmark(hub="math-ai/aime25"),
    "amc23": Benchmark(hub="math-ai/amc23", question="question"),
    "gpqa_diamond": Benchmark(
        hub="Idavidrein/gpqa",
        config="gpqa_diamond",
        split="train",
        question="Question",
        answer="Correct Answer",
        further=("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
        convert=_lettered,
    ),
    "gsm8k": Benchmark(
        hub="openai/gsm8k", config="main", question="question", convert=_after_the_mark
    ),
    "math500": Benchmark(hub="HuggingFaceH4/MATH-500"),
    "minerva": Benchmark(hub="math-ai/minervamath", question="question"),
    "olympiadbench": Benchmark(
        hub="Hothan/OlympiadBench",
        config="OE_TO_maths_en_COMP",
        split="train",
        question="question",
        answer="final_answer",
        convert=_joined,
    ),
}


def is_benchmark(name: str) -> bool:
    return name.startswith(PREFIX)


def read_benchmark(source: DataSource) -> "Dataset":
    """The rows of a benchmark: `question` and `answer` (text), and its other columns.

    Raises ConfigError for an unknown name, for a configuration, split or options beside it, when the hub does not hand
    the dataset out, and when it has other columns than are known here.
    """
    from datasets import Dataset, concatenate_datasets

    entry = _entry(source)
    tables = read_hub_dataset(entry.hub, entry.config, expected="a dataset of the hub")
    if entry.split not in tables:
        raise _other_than_known(source.name, entry, "split", entry.split, map(str, tables))
    table = tables[entry.split]
    for column in (entry.question, entry.answer, *entry.further):
        if column not in table.column_names:
            raise _other_than_known(source.name, entry, "column", column, table.column_names)
    pairs = [entry.convert(row, entry.question, entry.answer) for row in table.to_list()]
    questions, answers = zip(*pairs, strict=True) if pairs else ((), ())
    made = Dataset.from_dict({"question": list(questions), "answer": list(answers)})
    replaced = {"question", "answer", entry.question, entry.answer}
    others = [name for name in table.column_names if name not in replaced]
    parts = [made, table.select_columns(others)] if others else [made]
    return concatenate_datasets(parts, axis=1)


def _entry(source: DataSource) -> Benchmark:
    name = source.name.removeprefix(PREFIX)
    if name not in BENCHMARKS:
        known = [PREFIX + each for each in BENCHMARKS]
        raise ConfigError(
            f"there is no benchmark '{name}'",
            key="data.name",
            expected=", ".join(known),
            given=source.name,
            choices=known,
        )
    settings = {"config": source.config, "split": source.split, "options": source.options}
    for key, value in settings.items():
        if value not in (None, "train", {}):
            raise ConfigError(
                f"a benchmark has no other {key} to choose",
                key=f"data.{key}",
                given=value,
                remedy=f"remove it, or name the dataset itself: {BENCHMARKS[name].hub}",
            )
    return BENCHMARKS[name]


def _other_than_known(
    name: str, entry: Benchmark, what: str, missing: str, present: Any
) -> ConfigError:
    return ConfigError(
        f"{entry.hub} has no {what} '{missing}', which {name} reads",
        key="data.name",
        expected=", ".join(present),
        remedy=f"name the dataset itself, data.name: {entry.hub}, with data.split, data.prompt and data.answer",
    )
