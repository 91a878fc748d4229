"""From the name of a source to its table."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rlent.data import small, tasks
from rlent.data.benchmarks import PREFIX, is_benchmark, read_benchmark
from rlent.data.files import is_file_name, read_files, read_saved_folder
from rlent.data.hub_datasets import read_hub_dataset
from rlent.data.paths import is_path_like
from rlent.data.places import Places
from rlent.data.section import DataSource
from rlent.data.table import SourceTable
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

GENERATED_SIZE = 1000
EXPECTED = (
    "a hub id, a folder written by save_to_disk, a .jsonl, .json, .parquet or .csv file, "
    f"{PREFIX}<name>, {tasks.PREFIX}<task>, or {' or '.join(small.TASKS)}"
)


def is_generated(source: DataSource) -> bool:
    """True for a task whose rows are made on demand."""
    return _generator(source.name) is not None


def read_source(source: DataSource, count: int | None, seed: int) -> SourceTable:
    """All rows of a stored source, or `count` rows of a generated one (1000 by default).

    Raises ConfigError for everything that is wrong with the name and with what belongs to it.
    """
    if is_benchmark(source.name):
        return _with_row_numbers(read_benchmark(source), source.name)
    generate = _generator(source.name)
    if generate is None:
        return _read(source)
    if source.split != "train":
        raise ConfigError(
            "a generated task has one split",
            key="data.split",
            expected="train",
            given=source.split,
        )
    count = GENERATED_SIZE if count is None else count
    table = generate(source.name, source.options, count=count, seed=seed)
    return _with_row_numbers(table, source.name)


def _generator(name: str) -> "Callable[..., Dataset] | None":
    if name in small.TASKS:
        return small.generate
    return tasks.generate if name.startswith(tasks.PREFIX) else None


def _read(source: DataSource) -> SourceTable:
    name = source.name
    if source.options:
        raise ConfigError("only generated tasks have options", key="data.options")
    local = is_file_name(name) or is_path_like(name) or Path(name).exists()
    if local and source.config is not None:
        raise ConfigError("only hub datasets have configurations", key="data.config")
    if is_file_name(name):
        _check_split(["train"], source)
        return read_files(name)
    tables = (
        read_saved_folder(name, expected=EXPECTED)
        if local
        else read_hub_dataset(name, source.config, expected=EXPECTED)
    )
    return _with_row_numbers(_pick_split(tables, source), f"{name} ({source.split})")


def _with_row_numbers(table: "Dataset", name: str) -> SourceTable:
    return SourceTable(table=table, place=Places(names=[name], starts=[0]))


def _pick_split(tables: "DatasetDict", source: DataSource) -> "Dataset":
    _check_split([str(name) for name in tables], source)
    table = tables[source.split]
    if len(table) == 0:
        raise ConfigError(
            f"'{source.name}' has no rows in its split '{source.split}'", key="data.name"
        )
    return table


def _check_split(splits: list[str], source: DataSource) -> None:
    if source.split not in splits:
        raise ConfigError(
            f"'{source.name}' has no split '{source.split}'",
            key="data.split",
            expected=", ".join(splits),
            given=source.split,
            choices=splits,
        )
