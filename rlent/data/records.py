"""Rows of text files one by one, each with its line: JSON lines, a JSON list, CSV."""

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlent.errors import ConfigError

BOM = b"\xef\xbb\xbf"
KEY = "data.name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row of a file, or the reason why there is none."""

    line: int
    """Where it starts, from 1."""
    row: dict[str, Any] | None = None
    reason: str = ""


def json_records(file: Path) -> Iterator[Record]:
    """Rows of one list of objects, or of JSON lines where the file does not start as a list does.

    Raises ConfigError for a list that is not JSON, in which no row has an end.
    """
    start = file.read_bytes().removeprefix(BOM).lstrip()[:1]
    yield from _list_records(file) if start == b"[" else json_line_records(file)


def csv_records(file: Path) -> Iterator[Record]:
    """Rows of a CSV file with a header, every value as text, None where the field is empty.

    Raises ConfigError for a header that names a column twice, and for a quote that is never closed,
    after which no row can be found.
    """
    # The module's own limit of 131072 characters is for all readers of the process.
    csv.field_size_limit(sys.maxsize)
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise ConfigError(f"{file}:1: the header names a column twice", key=KEY)
        line = reader.line_num + 1
        for record in _fields(reader, file):
            if record != []:
                yield _csv_record(record, header, line)
            line = reader.line_num + 1


def json_line_records(file: Path) -> Iterator[Record]:
    """Rows of JSON lines; empty lines are no rows."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(BOM) if number == 1 else line
            if text.strip():
                yield _json_record(text, number)


def _json_record(text: bytes, line: int) -> Record:
    try:
        value = json.loads(text.rstrip().decode("utf-8"))
    except UnicodeDecodeError as error:
        return Record(line=line, reason=f"not UTF-8: byte 0x{text[error.start]:02x}")
    except json.JSONDecodeError as error:
        return Record(line=line, reason=f"not JSON: {error.msg} at column {error.colno}")
    return _object_record(value, line)


def _list_records(file: Path) -> Iterator[Record]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}: not JSON: {error.msg}", key=KEY) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{file}' is not UTF-8: {error.reason}", key=KEY) from error
    decoder, between = json.JSONDecoder(), re.compile(r"[\s,]*")
    start, line = text.index("[") + 1, 1
    counted = 0
    while True:
        gap = between.match(text, start)
        position = gap.end() if gap else start
        if text[position] == "]":
            return
        line += text.count("\n", counted, position)
        counted = position
        value, start = decoder.raw_decode(text, position)
        yield _object_record(value, line)


def _object_record(value: Any, line: int) -> Record:
    if isinstance(value, dict) and value:
        return Record(line=line, row=value)
    return Record(line=line, reason="not a JSON object with columns")


def _fields(reader: Any, file: Path) -> Iterator[list[str] | csv.Error]:
    while True:
        start = reader.line_num + 1
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if str(error) == "unexpected end of data":
                raise ConfigError(
                    f"{file}:{start}: a quote is opened and never closed", key=KEY
                ) from error
            yield error


def _csv_record(fields: list[str] | csv.Error, header: list[str], line: int) -> Record:
    if isinstance(fields, csv.Error):
        return Record(line=line, reason=f"not CSV: {fields}")
    if len(fields) != len(header):
        return Record(
            line=line, reason=f"{len(fields)} fields, and the header has {len(header)} columns"
        )
    if any("\udc80" <= sign <= "\udcff" for value in fields for sign in value):
        return Record(line=line, reason="not UTF-8")
    return Record(
        line=line, row={name: value or None for name, value in zip(header, fields, strict=True)}
    )
