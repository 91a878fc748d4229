"""Rows from files and folders on this machine."""

import glob
import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rlent.data.paths import missing_path
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import DatasetDict

READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
KEY = "data.name"
FILES = f"a file that ends in {', '.join(READERS)}"


def is_file_name(name: str) -> bool:
    """True for a file that exists, a name that ends as a data file does, and a glob."""
    path = Path(name).expanduser()
    return path.is_file() or (path.suffix in READERS and not path.is_dir()) or glob.has_magic(name)


def read_files(name: str) -> "DatasetDict":
    """The rows of one file, or of all files of a glob in order of their names, as split ``train``.

    Raises ConfigError for missing, empty, broken and unknown files.
    """
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetsError

    files = _matching_files(name)
    reader = _reader(files)
    try:
        builder = load_dataset_builder(reader, data_files={"train": [str(f) for f in files]})
        builder.download_and_prepare()
    except (DatasetsError, ValueError) as error:
        raise ConfigError(
            f"'{name}' could not be read: {error.__cause__ or error}",
            key=KEY,
            expected=f"{files[0].suffix} files whose rows have the same columns",
        ) from error
    splits = builder.info.splits
    # Reading a split without rows is an error of its own in datasets, with another message.
    if not splits or not splits["train"].num_examples:
        raise ConfigError(f"'{name}' has no rows", key=KEY)
    return cast("DatasetDict", builder.as_dataset())


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


def _reader(files: list[Path]) -> str:
    for file in files:
        if file.suffix not in READERS:
            raise ConfigError(
                f"'{file}' is of no known kind",
                key=KEY,
                expected=FILES,
                given=file.suffix,
                choices=READERS,
            )
        if file.stat().st_size == 0:
            raise ConfigError(f"'{file}' has no rows: it is an empty file", key=KEY)
    readers = {READERS[file.suffix] for file in files}
    if len(readers) > 1:
        raise ConfigError(
            "the files are of several kinds", key=KEY, expected="one kind", given=sorted(readers)
        )
    return readers.pop()
