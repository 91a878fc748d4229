"""From a data section to rows."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rlent.data import small, tasks
from rlent.data.files import is_file_name, read_files, read_saved_folder
from rlent.data.hub_datasets import read_hub_dataset
from rlent.data.paths import is_path_like
from rlent.data.prompts import with_prompts
from rlent.data.section import DataSection
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

GENERATED_SIZE = 1000
EXPECTED = (
    "a hub id, a folder written by save_to_disk, a .jsonl, .json, .parquet or .csv file, "
    f"{tasks.PREFIX}<task>, or {small.TASK}"
)


def load_rows(section: DataSection) -> "Dataset":
    """Rows of a data section: `prompt`, `answer` (text, if there are labels), then the other columns of the source.

    `prompt` is a list of chat messages, or text for `style` ``plain``. The same section gives the
    same rows in the same order. Columns whose names TRL reads in its own way are left out (see
    `prompts.TRL_COLUMNS`). Raises ConfigError for everything that is wrong with the section.
    """
    _check_section(section)
    if generate := _generator(section.name):
        count = GENERATED_SIZE if section.size is None else section.size
        table = generate(section.name, section.options, count=count, seed=section.seed)
    else:
        table = _take(_read(section), section)
    return with_prompts(table, section)


def _check_section(section: DataSection) -> None:
    generated = _generator(section.name) is not None
    if section.size is not None and section.size < 1:
        raise ConfigError("the number of rows is not positive", key="data.size", given=section.size)
    if section.system is not None and section.style == "plain":
        raise ConfigError(
            "a plain prompt has no system message",
            key="data.system",
            remedy="write it into data.prompt, or use data.style: chat",
        )
    if section.options and not generated:
        raise ConfigError("only generated tasks have options", key="data.options")
    if generated and section.split != "train":
        raise ConfigError(
            "a generated task has one split",
            key="data.split",
            expected="train",
            given=section.split,
        )


def _generator(name: str) -> "Callable[..., Dataset] | None":
    if name == small.TASK:
        return small.generate
    return tasks.generate if name.startswith(tasks.PREFIX) else None


def _read(section: DataSection) -> "Dataset":
    name = section.name
    local = is_file_name(name) or is_path_like(name) or Path(name).exists()
    if local and section.config is not None:
        raise ConfigError("only hub datasets have configurations", key="data.config")
    if is_file_name(name):
        tables = read_files(name)
    elif local:
        tables = read_saved_folder(name, expected=EXPECTED)
    else:
        tables = read_hub_dataset(name, section.config, expected=EXPECTED)
    return _pick_split(tables, section)


def _pick_split(tables: "DatasetDict", section: DataSection) -> "Dataset":
    if section.split not in tables:
        raise ConfigError(
            f"'{section.name}' has no split '{section.split}'",
            key="data.split",
            expected=", ".join(map(str, tables)),
            given=section.split,
            choices=map(str, tables),
        )
    return tables[section.split]


def _take(table: "Dataset", section: DataSection) -> "Dataset":
    if len(table) == 0:
        raise ConfigError(
            f"'{section.name}' has no rows in its split '{section.split}'", key="data.name"
        )
    if section.size is not None and section.size > len(table):
        raise ConfigError(
            f"'{section.name}' has only {len(table)} rows in its split '{section.split}'",
            key="data.size",
            expected=f"at most {len(table)}",
            given=section.size,
        )
    rows = table.shuffle(seed=section.seed)
    return rows if section.size is None else rows.select(range(section.size))
