"""The folder of an evaluation: finished chunks, from which a killed evaluation goes on, and the results.

::

    FOLDER/summary.json                          every metric of every set, with its interval
    FOLDER/SET/settings.json                     what the completions follow from
    FOLDER/SET/completions/greedy-....parquet    a row per completion (``answers.Answer``), a file per chunk
    FOLDER/SET/problems.parquet                  a row per problem
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rlent.errors import ConfigError
from rlent.evaluation.answers import Answer, in_order, read_answers, write_answers, write_whole
from rlent.evaluation.problems import Chunk, ProblemSet
from rlent.evaluation.results import SetResult

SUMMARY_FILE = "summary.json"
SETTINGS_FILE = "settings.json"
COMPLETIONS_FOLDER = "completions"
PROBLEMS_FILE = "problems.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class SetStore:
    """The folder of one set."""

    folder: Path
    settings: Mapping[str, Any]
    """What the completions follow from, as JSON."""

    def check(self) -> None:
        """Raise ConfigError if the folder holds completions that other settings gave."""
        path = self.folder / SETTINGS_FILE
        if not path.exists():
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        differ = [name for name, value in self.settings.items() if found.get(name) != value]
        if differ:
            raise ConfigError(
                f"{self.folder} holds an evaluation with another {', '.join(differ)}",
                key="--output",
                expected=f"{differ[0]} {found.get(differ[0])!r}",
                given=self.settings[differ[0]],
                where="command line",
                remedy="name another folder, or delete this one",
            )

    def begin(self) -> None:
        """Write the settings down."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / SETTINGS_FILE
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.settings, indent=2) + "\n", encoding="utf-8")
        unfinished.rename(path)

    def has(self, chunk: Chunk) -> bool:
        return self._path(chunk).exists()

    def write(self, chunk: Chunk, answers: Sequence[Answer]) -> None:
        write_answers(self._path(chunk), answers)

    def answers(self, problems: ProblemSet) -> list[Answer]:
        """Those of all chunks of a set, in order."""
        return in_order(
            answer for chunk in problems.chunks for answer in read_answers(self._path(chunk))
        )

    def _path(self, chunk: Chunk) -> Path:
        return self.folder / COMPLETIONS_FOLDER / f"{chunk.name}.parquet"


def read_set(folder: Path, key: str | None = None) -> list[Answer]:
    """Every completion of an evaluated set, in order.

    Args:
        key: what named the folder.

    Raises:
        ConfigError: it is not the folder of an evaluated set.
    """
    paths = sorted((folder / COMPLETIONS_FOLDER).glob("*.parquet"))
    if not paths:
        raise ConfigError(
            "not the folder of an evaluated set",
            key=key,
            expected=f"a folder with {COMPLETIONS_FOLDER}/*.parquet, which `rlent eval` writes for every set, "
            "such as runs/evaluations/NAME/CHECKPOINT/held_out",
            given=str(folder),
        )
    return in_order(answer for path in paths for answer in read_answers(path))


def write_problems(folder: Path, result: SetResult) -> None:
    """The table of a set's problems."""
    write_whole(folder / PROBLEMS_FILE, pa.Table.from_pylist(result.rows()))


def write_summary(folder: Path, results: Sequence[SetResult]) -> None:
    """``summary.json``."""
    text = json.dumps({each.name: summary(each) for each in results}, indent=2, allow_nan=False)
    (folder / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8")


def summary(result: SetResult) -> dict[str, Any]:
    """One set's numbers as JSON."""
    return {
        "problems": len(result.problems),
        "unscored": result.unscored,
        "metrics": {
            name: {"value": value, **asdict(result.interval(name))}
            for name, value in result.metrics.items()
        },
        **{kind: asdict(texts) for kind, texts in result.texts.items()},
        **({} if result.difficulty is None else {"difficulty": asdict(result.difficulty)}),
    }
