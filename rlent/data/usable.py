"""The rows of one source that can be used, in order, without reading more of them than are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.data.columns import rows_of
from rlent.data.pictures import picture_names, picture_values
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
    pictures: tuple[str, ...] = ()
    """The names of its pictures, see `pictures.picture_names`."""


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
        pictures: Iterator[Any] = repeat(None, len(order))
        if (image := maker.source.image) is not None:
            folders = (read.place.folder(int(row)) for row in order)
            pictures = zip(picture_values(ordered, image), folders, strict=True)
        return ordered, list(islice(self._usable(ordered, places, pictures, maker), count))

    def _usable(
        self,
        ordered: "Dataset",
        places: Iterator[str],
        pictures: Iterator[tuple[Any, Path] | None],
        maker: RowMaker,
    ) -> Iterator[UsableRow]:
        rows = enumerate(zip(places, rows_of(ordered, maker.columns), pictures, strict=True))
        for index, (place, values, stored) in rows:
            try:
                named = () if stored is None else picture_names(*stored)
                prompt, answer = maker.prompt(values, len(named)), maker.answer(values)
            except ConfigError as error:
                self.problems.report("bad_rows", place, error)
                continue
            if maker.source.answer is not None and answer is None:
                error = ConfigError(
                    f"no answer in the column '{maker.source.answer}'", key="data.answer"
                )
                self.problems.report("no_answer", place, error)
            elif self._stays("\n".join((prompt_text(prompt), *named)), answer, place):
                yield UsableRow(
                    index=index,
                    place=place,
                    prompt=prompt,
                    answer=answer,
                    question="\n".join((maker.question(values), *named)),
                    pictures=named,
                )

    def _stays(self, text: str, answer: str | None, place: str) -> bool:
        first, other = self.seen.setdefault(text, (place, answer))
        # Not equality: a mixture may name one file twice.
        if first is place:
            return True
        contradicts = " with another answer" if other != answer else ""
        error = ConfigError(f"the prompt of {first} again{contradicts}", key="data.duplicates")
        return self.problems.report("duplicates", place, error)
