"""Tables from text files, with the rows that fit no table and the line of every row."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.data.places import Places
from rlent.data.problems import Problem
from rlent.data.records import Record, csv_records, json_line_records, json_records
from rlent.data.table import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 10_000
TEXT_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": json_line_records,
    ".json": json_records,
    ".csv": csv_records,
}


def read_text_files(files: list[Path]) -> SourceTable:
    """All rows of some files of one kind, in order.

    A column that a row lacks is null there. Rows whose values are of another type than those of the
    rows before them are bad. Raises ConfigError for files in which rows cannot be told apart.
    """
    from datasets import Dataset

    growing = _Growing()
    starts: list[int] = []
    for file in files:
        starts.append(len(growing.lines))
        growing.add(file, TEXT_READERS[file.suffix](file))
    table = growing.table()
    if files[0].suffix == ".csv":
        table = _typed(table)
    return SourceTable(
        table=Dataset(table),
        place=Places(names=[str(file) for file in files], starts=starts, lines=growing.lines),
        bad=tuple(growing.bad),
    )


class _Growing:
    """A table that takes rows in chunks, so that only a chunk of them is ever held as Python objects."""

    def __init__(self) -> None:
        import pyarrow as pa

        self.lines = array("q")
        self.bad: list[Problem] = []
        self._chunks: list[pa.Table] = []
        self._schema = pa.schema([])

    def add(self, file: Path, records: Iterable[Record]) -> None:
        records = iter(records)
        while chunk := list(islice(records, CHUNK)):
            unread = [record for record in chunk if not record.row]
            bad = unread + self._misfits([record for record in chunk if record.row])
            self.bad += [
                Problem(place=f"{file}:{record.line}", reason=record.reason)
                for record in sorted(bad, key=lambda record: record.line)
            ]

    def table(self) -> "pa.Table":
        import pyarrow as pa

        return (
            pa.concat_tables(self._chunks, promote_options="permissive")
            if self._chunks
            else self._schema.empty_table()
        )

    def _misfits(self, records: list[Record]) -> list[Record]:
        """Take the rows that fit those before, and give the others back."""
        if not records or self._rejected(records) is None:
            return []
        # Some row does not fit: one by one, the rows say which.
        tried = ((record, self._rejected([record])) for record in records)
        return [Record(line=record.line, reason=reason) for record, reason in tried if reason]

    def _rejected(self, records: list[Record]) -> str | None:
        """Take rows; or take none of them, and say why they do not fit those before."""
        import pyarrow as pa

        try:
            chunk = _arrow([record.row for record in records])
            schema = pa.unify_schemas([self._schema, chunk.schema], promote_options="permissive")
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            reason = str(error).removeprefix("Unable to merge: ")
            return f"its values fit no table with the rows before: {reason}"
        self._chunks.append(chunk)
        self._schema = schema
        self.lines.extend(record.line for record in records)
        return None


def _arrow(rows: list[Any]) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(pa.array(rows))])


def _typed(table: "pa.Table") -> "pa.Table":
    """Columns of numbers and of True and False as such, where ``str`` gives the file's text back."""
    import pyarrow as pa

    columns = {name: _values(table[name].to_pylist()) for name in table.column_names}
    return pa.table(columns)


def _values(texts: list[str | None]) -> list[Any]:
    for read in (int, float, {"True": True, "False": False}.__getitem__):
        try:
            values = [None if text is None else read(text) for text in texts]
        except (KeyError, ValueError):
            continue
        exact = all(
            value is None or str(value) == text for value, text in zip(values, texts, strict=True)
        )
        if exact and all(not isinstance(value, int) or abs(value) < 2**63 for value in values):
            return values
    return texts
