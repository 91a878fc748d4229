"""What reading a source gives."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlent.data.places import Places
from rlent.data.problems import Problem

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTable:
    """All rows of a source as they are there."""

    table: "Dataset"
    place: Places
    """Where a row stands in its source."""
    bad: tuple[Problem, ...] = ()
    """Rows that are not in the table, because they could not be read."""
