"""The rows of one source that can be used, in order, without reading more of them than are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from rlent.data.columns import rows_of
from rlent.data.problems import Problems
from rlent.data.prompts import Prompt, RowMaker, prompt_text
from rlent.data.table import SourceTable
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class UsableRow:
    """One row that stays."""

    index: int
    """Its number in the ordered table."""
    place: str
    prompt: Prompt
    answer: str | None
    question: str
    """What the prompt asks, without its template."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """Finds the problems of rows, also those that one source has with another."""

    problems: Problems
    seen: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Prompt -> place and answer of the first row that has it."""

    def report_unread(self, read: SourceTable) -> None:
        """Report the rows that are not in the table. Raises ConfigError where such rows stop the run."""
        for problem in read.bad:
            error = ConfigError(problem.reason, key="data.bad_rows")
            self.problems.report("bad_rows", problem.place, error)

    def rows(
        self, read: SourceTable, order: Sequence[int], maker: RowMaker, count: int | None
    ) -> "tuple[Dataset, list[UsableRow]]":
        """The source in the given order, and the first `count` rows of it that can be used.

        Raises ConfigError at the first problem that stops the run.
        """
        ordered = read.table.select(order)
        places = (read.place(int(row)) for row in order)
        return ordered, list(islice(self._usable(ordered, places, maker), count))

    def _usable(
        self, ordered: "Dataset", places: Iterator[str], maker: RowMaker
    ) -> Iterator[UsableRow]:
        rows = enumerate(zip(places, rows_of(ordered, maker.columns), strict=True))
        for index, (place, values) in rows:
            try:
                prompt, answer = maker.prompt(values), maker.answer(values)
            except ConfigError as error:
                self.problems.report("bad_rows", place, error)
                continue
            if maker.source.answer is not None and answer is None:
                error = ConfigError(
                    f"no answer in the column '{maker.source.answer}'", key="data.answer"
                )
                self.problems.report("no_answer", place, error)
            elif self._stays(prompt, answer, place):
                question = maker.question(values)
                yield UsableRow(
                    index=index, place=place, prompt=prompt, answer=answer, question=question
                )

    def _stays(self, prompt: Prompt, answer: str | None, place: str) -> bool:
        text = prompt_text(prompt)
        first, other = self.seen.setdefault(text, (place, answer))
        # Not equality: a mixture may name one file twice.
        if first is place:
            return True
        contradicts = " with another answer" if other != answer else ""
        error = ConfigError(f"the prompt of {first} again{contradicts}", key="data.duplicates")
        return self.problems.report("duplicates", place, error)
