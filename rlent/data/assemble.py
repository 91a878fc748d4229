"""From usable rows to the table that a trainer reads."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from rlent.data.columns import column_names, column_values
from rlent.data.pictures import COLUMNS, picture_column, picture_column_in, picture_feature
from rlent.data.prompts import check_column
from rlent.data.section import DataSource
from rlent.data.usable import UsableRow
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

# TRL takes these for a conversation beside the prompt, or for arguments of its own.
TRL_COLUMNS = frozenset(
    {"messages", "chosen", "rejected", "completion", "prompts", "completions", "completion_ids"}
)
MADE_COLUMNS = frozenset({"prompt", "answer"})
SOURCE_COLUMN = "data_source"
"""The column that names the source of a mixture's row, called so in verl's layout."""


def with_prompts(
    table: "Dataset", source: DataSource, rows: list[UsableRow], given: Collection[str] = ()
) -> "Dataset":
    """Some rows of a table with `prompt` and, if there are labels, `answer` columns in front, and pictures last.

    The other columns are those that the source asks for, by default all but ``TRL_COLUMNS``; those
    of these that are `given` answers stay. Raises ConfigError when one of them does not exist or
    has a name that is taken.
    """
    from datasets import Dataset, concatenate_datasets

    columns: dict[str, list[Any]] = {"prompt": [row.prompt for row in rows]}
    if source.answer is not None:
        columns["answer"] = [row.answer for row in rows]
    made = Dataset.from_dict(columns)
    used = table.select([row.index for row in rows])
    parts = [made, _others(used, source, given)]
    if source.image is not None:
        parts.append(picture_column(used, source.image, [row.pictures for row in rows]))
    parts = [part for part in parts if part.column_names]
    return concatenate_datasets(parts, axis=1) if len(parts) > 1 else made


def joined(tables: "Sequence[Dataset]", names: Sequence[str]) -> "Dataset":
    """The tables of the sources called `names`, one after another; a column that one lacks is null there.

    Every row says its source in ``SOURCE_COLUMN``, unless its table says so already. A single
    table is given back as it is. Raises ConfigError when columns of one name are of other types.
    """
    import pyarrow as pa
    from datasets import Dataset

    if not names:
        return tables[0]
    pictures = {picture_column_in(table.column_names) for table in tables}
    if len(pictures) > 1:
        raise ConfigError(
            "some sources hold one picture for each row, and others lists of them",
            key="data.mixture",
            remedy="make each a list",
        )
    parts = [_arrow(table, name) for table, name in zip(tables, names, strict=True)]
    try:
        whole = Dataset(pa.concat_tables(parts, promote_options="permissive"))
    except pa.ArrowException as error:
        reason = str(error).removeprefix("Unable to merge: ")
        raise ConfigError(
            f"the sources have columns of other types: {reason}",
            key="data.mixture",
            remedy="name the columns to keep with `columns` of each source",
        ) from error
    (name,) = pictures
    return whole if name is None else whole.cast_column(name, picture_feature(name))


def _others(table: "Dataset", source: DataSource, given: Collection[str]) -> "Dataset":
    from datasets import Dataset

    pictures = () if source.image is None else COLUMNS
    taken = (MADE_COLUMNS | TRL_COLUMNS).difference(given).union(pictures)
    if source.columns is None:
        taken |= {source.image}
        return table.select_columns([c for c in table.column_names if c not in taken])
    names = column_names(table)
    for name, column in source.columns.items():
        key = f"data.columns.{name}"
        if name in taken:
            raise ConfigError(
                "a name that rlent or TRL reads in its own way", key=key, expected="another name"
            )
        check_column(column, names, "to keep", key)
    return Dataset.from_dict(
        {name: list(column_values(table, column)) for name, column in source.columns.items()}
    )


def _arrow(table: "Dataset", name: str) -> Any:
    rows: Any = table.with_format("arrow")[:]
    whole = rows.replace_schema_metadata(None)
    if SOURCE_COLUMN in whole.column_names:
        return whole
    import pyarrow as pa

    return whole.append_column(SOURCE_COLUMN, pa.array([name] * len(table), pa.string()))
