"""Rows from files and folders on this machine."""

import glob
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rlent.data.parquet_files import read_parquet_files
from rlent.data.paths import missing_path
from rlent.data.table import SourceTable
from rlent.data.text_files import TEXT_READERS, read_text_files
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import DatasetDict

KINDS = (*TEXT_READERS, ".parquet")
KEY = "data.name"
FILES = f"a file that ends in {', '.join(KINDS)}"


def is_file_name(name: str) -> bool:
    """True for a file that exists, a name that ends as a data file does, and a glob."""
    path = Path(name).expanduser()
    return path.is_file() or (path.suffix in KINDS and not path.is_dir()) or glob.has_magic(name)


def read_files(name: str) -> SourceTable:
    """The rows of one file, or of all files of a glob in order of their names.

    Raises ConfigError for missing, empty, broken and unknown files.
    """
    files = _matching_files(name)
    _check_kinds(files)
    read = read_text_files if files[0].suffix in TEXT_READERS else read_parquet_files
    found = read(files)
    if not len(found.table) and not found.bad:
        raise ConfigError(f"'{name}' has no rows", key=KEY)
    return found


def read_saved_folder(name: str, *, expected: str) -> "DatasetDict":
    """The splits of a folder that `save_to_disk` wrote; a single table is split ``train``.

    Raises ConfigError when the folder is missing or holds something else.
    """
    from datasets import Dataset, DatasetDict, load_from_disk

    folder = Path(name).expanduser()
    if not folder.exists():
        raise missing_path(name, KEY, expected=expected)
    _check_tables(folder)
    try:
        saved = load_from_disk(str(folder))
    except FileNotFoundError as error:
        raise ConfigError(
            f"the folder '{name}' was not written by save_to_disk",
            key=KEY,
            expected=expected,
            remedy=f"name its files, such as {folder}/*.jsonl",
        ) from error
    return DatasetDict({"train": saved}) if isinstance(saved, Dataset) else saved


def _check_tables(folder: Path) -> None:
    # A table without files was saved without rows; load_from_disk trips over it.
    for state in [*folder.glob("state.json"), *folder.glob("*/state.json")]:
        if not json.loads(state.read_text())["_data_files"]:
            raise ConfigError(
                f"the table in '{state.parent}' has no rows",
                key=KEY,
                remedy="save it again with rows, or without that split",
            )


def _matching_files(name: str) -> list[Path]:
    path = Path(name).expanduser()
    # A file may have brackets in its name without being a glob.
    files = [path] if path.is_file() else [Path(f) for f in sorted(glob.glob(str(path)))]
    if not files and glob.has_magic(name):
        raise ConfigError(f"no file matches '{name}'", key=KEY, expected=FILES)
    if not files:
        raise missing_path(name, KEY, expected=FILES)
    return files


def _check_kinds(files: list[Path]) -> None:
    for file in files:
        if file.suffix not in KINDS:
            raise ConfigError(
                f"'{file}' is of no known kind",
                key=KEY,
                expected=FILES,
                given=file.suffix,
                choices=KINDS,
            )
        if file.stat().st_size == 0:
            raise ConfigError(f"'{file}' has no rows: it is an empty file", key=KEY)
    if len({TEXT_READERS.get(file.suffix) for file in files}) > 1:
        given = sorted({file.suffix for file in files})
        raise ConfigError(
            "the files are of several kinds", key=KEY, expected="one kind", given=given
        )
