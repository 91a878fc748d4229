"""Tables from Parquet files."""

from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rlent.data.places import Places
from rlent.data.table import SourceTable
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

KEY = "data.name"


def read_parquet_files(files: list[Path]) -> SourceTable:
    """All rows of some files with the same columns, in order.

    Raises ConfigError for files that are not Parquet, broken, or of other columns than the first.
    """
    sizes = [_size(file) for file in files]
    return SourceTable(
        table=_table(files, sum(sizes)),
        place=Places(names=[str(file) for file in files], starts=[0, *accumulate(sizes[:-1])]),
    )


def _size(file: Path) -> int:
    import pyarrow as pa
    from pyarrow.parquet import read_metadata

    try:
        return read_metadata(file).num_rows
    except pa.ArrowException as error:
        raise ConfigError(f"'{file}' could not be read: {error}", key=KEY) from error


def _table(files: list[Path], size: int) -> "Dataset":
    from datasets import Dataset, load_dataset_builder
    from datasets.exceptions import DatasetsError

    # Reading a split without rows is an error of its own in datasets, with another message.
    if size == 0:
        return Dataset.from_dict({})
    names = [str(file) for file in files]
    try:
        builder = load_dataset_builder("parquet", data_files={"train": names})
        builder.download_and_prepare()
    except (DatasetsError, ValueError) as error:
        raise ConfigError(
            f"{', '.join(names)} could not be read: {error.__cause__ or error}",
            key=KEY,
            expected=".parquet files whose rows have the same columns",
        ) from error
    return cast("Dataset", builder.as_dataset(split="train"))
