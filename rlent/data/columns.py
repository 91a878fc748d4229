"""Columns of a table, and fields inside them by dotted names such as ``reward_model.ground_truth``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1000


def column_names(table: "Dataset") -> list[str]:
    """Every column, each followed by the dotted names of the fields inside it."""
    return [name for column, kind in table.features.items() for name in _names(column, kind)]


def column_values(table: "Dataset", name: str) -> Iterator[Any]:
    """The values of a column or of a field inside one, None where any part of the way is null.

    A column whose own name has dots comes before a field.
    """
    column, *path = (name,) if name in table.column_names else name.split(".")
    # Iterating over a column asks for every row of its own, which takes many times as long.
    batches: Any = table.select_columns([column]).iter(BATCH)
    for batch in batches:
        for value in batch[column]:
            yield _inside(value, path)


def rows_of(table: "Dataset", names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Row by row, the values of some columns."""
    for values in zip(*(column_values(table, name) for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _names(name: str, kind: object) -> Iterator[str]:
    yield name
    if isinstance(kind, Mapping):
        for field, inner in kind.items():
            yield from _names(f"{name}.{field}", inner)


def _inside(value: Any, path: list[str]) -> Any:
    for field in path:
        if value is None:
            return None
        value = value[field]
    return value
