"""Rows of generated tasks: a pool holds every question once, so that no split of it can leak."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

DRAWS_PER_ROW = 10


def different_questions(name: str, draws: Iterable[dict[str, Any]], count: int) -> "Dataset":
    """The first `count` rows with different `question`; at most ``DRAWS_PER_ROW * count`` are drawn.

    Raises ConfigError when the task has too few questions.
    """
    from datasets import Dataset

    rows: dict[str, dict[str, Any]] = {}
    for row in islice(draws, DRAWS_PER_ROW * count):
        rows.setdefault(row["question"], row)
        if len(rows) == count:
            return Dataset.from_list(list(rows.values()))
    raise ConfigError(
        f"'{name}' gave only {len(rows)} different questions in {DRAWS_PER_ROW * count} draws",
        key="data.size",
        expected=f"at most {len(rows)}",
        given=count,
        remedy="take fewer rows, or widen the task with data.options",
    )
