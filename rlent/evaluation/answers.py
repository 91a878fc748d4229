"""One answered problem, and the Parquet files that hold such answers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlent.evaluation.difficulty import Difficulty
from rlent.rollout import Tally

SCHEMA = pa.schema(
    [
        ("problem", pa.int32()),
        ("sample", pa.int32()),
        ("prompt", pa.string()),
        ("reference", pa.string()),
        ("completion", pa.string()),
        ("answer", pa.string()),
        ("score", pa.float64()),
        ("length", pa.int32()),
        ("finish", pa.string()),
        ("entropy", pa.float64()),
        (
            "tallies",
            pa.list_(pa.struct([("name", pa.string()), ("count", pa.int32()), ("of", pa.int32())])),
        ),
        ("difficulty", pa.string()),
        ("temperature", pa.float64()),
        ("limit", pa.int32()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One completion of one problem."""

    problem: int
    """Place in the set."""
    sample: int | None
    """Number among the drawn completions; None for the greedy one."""
    prompt: str
    reference: str | None
    """The row's column `answer`."""
    completion: str
    answer: str | None
    """What a drawn completion votes for: equal texts are votes for the same answer. None where it does not vote."""
    score: float | None
    """The reward; None where the reward does not apply."""
    length: int
    """Tokens, with the one that ends the completion."""
    finish: str
    """``eos``, or ``length`` where the completion was cut off."""
    entropy: float
    """Mean over its tokens, in nats, of the distribution at its sampling temperature (1 if greedy)."""
    tallies: tuple[Tally, ...] = ()
    """What the decoding rule counted."""
    difficulty: Difficulty | None = None
    """Label of its problem, where a probe has said what it is answered at; None elsewhere, as what follows."""
    temperature: float | None = None
    """That of its label; 0 if greedy."""
    limit: int | None = None
    """Most tokens, that of its label."""


def in_order(answers: Iterable[Answer]) -> list[Answer]:
    """By problem; the greedy completion first, then the drawn ones by their number."""
    return sorted(
        answers, key=lambda answer: (answer.problem, -1 if answer.sample is None else answer.sample)
    )


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """One Parquet file, under a temporary name until it is whole."""
    table = pa.Table.from_pylist([asdict(answer) for answer in answers], schema=SCHEMA)
    write_whole(path, table)


def write_whole(path: Path, table: pa.Table) -> None:
    """A table as a Parquet file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.rename(path)


def read_answers(path: Path) -> list[Answer]:
    """The answers of a file that ``write_answers`` wrote."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return [Answer(**{**row, "tallies": _tallies(row)}) for row in rows]


def _tallies(row: dict[str, Any]) -> tuple[Tally, ...]:
    """None in files that were written before there were any."""
    return tuple(Tally(**each) for each in row.get("tallies") or ())
