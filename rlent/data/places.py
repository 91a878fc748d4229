"""Where a row of a table came from, in words."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The places of the rows of one table, which several files may have filled one after another."""

    names: Sequence[str]
    """Files, or one other source."""
    starts: Sequence[int]
    """Number of the first row of each."""
    lines: Sequence[int] | None = None
    """Line of every row, from 1, for text files."""

    def folder(self, row: int) -> Path:
        """Where relative paths in a row start: at its file, or in the working directory where there is none."""
        name = Path(self.names[self._which(row)])
        return name.parent if name.is_file() else Path()

    def __call__(self, row: int) -> str:
        """``file:line``, or ``source: row n`` with rows from 0 where there are no lines."""
        which = self._which(row)
        if self.lines is not None:
            return f"{self.names[which]}:{self.lines[row]}"
        return f"{self.names[which]}: row {row - self.starts[which]}"

    def _which(self, row: int) -> int:
        return bisect_right(self.starts, row) - 1
