"""From a data section to rows."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rlent.data.assemble import joined, with_prompts
from rlent.data.columns import column_names
from rlent.data.pictures import check_picture_column
from rlent.data.problems import Problems, no_problems
from rlent.data.prompts import check_column, row_maker
from rlent.data.section import DataSection, DataSource, MixturePart
from rlent.data.shares import largest_size, shares
from rlent.data.sources import is_generated, read_source
from rlent.data.usable import Screen, UsableRow
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCount:
    """What one source gave."""

    name: str
    taken: int
    unused: int
    """Usable rows of a stored source that the weights of a mixture leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedData:
    """The rows of a data section, and everything that is to be known about them."""

    rows: "Dataset"
    """`prompt`, `answer` (text, if there are labels), then the other columns."""
    questions: list[str]
    """What each row asks, without its template: equal for rows that must not be on both sides of a
    split."""
    places: list[str]
    """Where each row came from."""
    problems: Problems
    sources: tuple[SourceCount, ...]

    def select(self, indices: Sequence[int]) -> "LoadedData":
        """Some of the rows, with all that was found."""
        return LoadedData(
            rows=self.rows.select(indices),
            questions=[self.questions[i] for i in indices],
            places=[self.places[i] for i in indices],
            problems=self.problems,
            sources=self.sources,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The usable rows of one source, in order."""

    source: MixturePart
    table: "Dataset"
    rows: list[UsableRow]


def load_rows(section: DataSection) -> "Dataset":
    """The rows of `load_data` alone."""
    return load_data(section).rows


def load_data(section: DataSection, given: Collection[str] = ()) -> LoadedData:
    """Rows of a data section: `prompt`, `answer` (text, if there are labels), then the other columns.

    `prompt` is a list of chat messages, or text for `style` ``plain``. The same section gives the
    same rows in the same order, in every process. Columns whose names TRL reads in its own way are
    left out (see `assemble.TRL_COLUMNS`), but for `given` answers to learn from. Raises ConfigError
    for everything that is wrong with the section, and for rows that its rules do not let pass.
    """
    _check_section(section)
    screen = Screen(problems=no_problems(section))
    parts = _parts(section, screen)
    counts = _counts(section, [len(part.rows) for part in parts])
    taken = [part.rows[:count] for part, count in zip(parts, counts, strict=True)]
    tables = []
    for position, (part, rows) in enumerate(zip(parts, taken, strict=True)):
        with _in_mixture(section, position):
            tables.append(with_prompts(part.table, part.source, rows, given))
    all_rows = [row for rows in taken for row in rows]
    loaded = LoadedData(
        rows=joined(tables, [part.name for part in section.mixture]),
        questions=[row.question for row in all_rows],
        places=[row.place for row in all_rows],
        problems=screen.problems,
        sources=tuple(_count(part, len(rows)) for part, rows in zip(parts, taken, strict=True)),
    )
    return loaded.select(_order(len(all_rows), section.seed)) if section.mixture else loaded


def _check_section(section: DataSection) -> None:
    if section.size is not None and section.size < 1:
        raise ConfigError("the number of rows is not positive", key="data.size", given=section.size)
    for position, source in enumerate(section.sources):
        if source.system is not None and section.style == "plain":
            with _in_mixture(section, position):
                raise ConfigError(
                    "a plain prompt has no system message",
                    key="data.system",
                    remedy="write it into data.prompt, or use data.style: chat",
                )


def _parts(section: DataSection, screen: Screen) -> list[_Part]:
    sources = section.sources
    wanted: list[Any] = [None] * len(sources)
    if section.size is not None:
        wanted = shares([source.weight for source in sources], section.size)
    parts = []
    for position, (source, count) in enumerate(zip(sources, wanted, strict=True)):
        with _in_mixture(section, position):
            if count == 0:
                raise ConfigError("its share of data.size is not one row", key="data.weight")
            parts.append(_part(source, section, count, screen))
    return parts


def _part(source: MixturePart, section: DataSection, count: int | None, screen: Screen) -> _Part:
    generated = is_generated(source)
    read = read_source(source, count, section.seed)
    screen.report_unread(read)
    if not len(read.table):
        raise _nothing_left(source, screen.problems)
    names = column_names(read.table)
    if source.image is not None:
        check_column(source.image, read.table.column_names, "for the pictures", "data.image")
        check_picture_column(read.table, source.image)
    maker = row_maker(names, source, section.style, blank_answers=generated)
    size = len(read.table)
    kept = generated or section.order == "source"
    order = list(range(size)) if kept else _order(size, section.seed)
    table, rows = screen.rows(read, order, maker, count)
    if not rows:
        raise _nothing_left(source, screen.problems)
    if count is not None and len(rows) < count and not generated:
        usable = " that can be used" if len(rows) < size else ""
        share = f"; {count} of them are its share" if section.mixture else ""
        raise ConfigError(
            f"'{source.name}' has only {len(rows)} rows in its split '{source.split}'{usable}{share}",
            key="data.size",
            expected=None if section.mixture else f"at most {len(rows)}",
            given=section.size,
        )
    return _Part(source=source, table=table, rows=rows)


def _nothing_left(source: DataSource, problems: Problems) -> ConfigError:
    found = [problem for first in problems.first.values() for problem in first]
    reason = f": {found[0].place}: {found[0].reason}" if found else ""
    return ConfigError(
        f"no row of '{source.name}' can be used ({', '.join(problems.left_out())}){reason}",
        key="data.name",
    )


def _counts(section: DataSection, available: list[int]) -> list[int]:
    if section.size is not None or not section.mixture:
        return available
    weights = [source.weight for source in section.mixture]
    counts = shares(weights, largest_size(weights, available))
    if 0 in counts:
        raise ConfigError(
            f"the sources have {', '.join(map(str, available))} rows: with these weights one of "
            "them would give none",
            key="data.mixture",
        )
    return counts


def _count(part: _Part, taken: int) -> SourceCount:
    unused = 0 if is_generated(part.source) else len(part.rows) - taken
    return SourceCount(name=part.source.name, taken=taken, unused=unused)


def _order(count: int, seed: int) -> list[int]:
    import numpy as np

    return np.random.default_rng(seed).permutation(count).tolist()


@contextmanager
def _in_mixture(section: DataSection, position: int) -> Iterator[None]:
    """Give an error about one source of a mixture the key of that source."""
    try:
        yield
    except ConfigError as error:
        own = {"weight", *(each.name for each in fields(DataSource))}
        first, _, rest = (error.key or "").removeprefix("data.").partition(".")
        if section.mixture and first in own:
            error.key = f"data.mixture.{position}.{first}" + (f".{rest}" if rest else "")
        raise
