"""Rows from the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlent.data.hub import ask_hub
from rlent.data.paths import neighbours
from rlent.errors import ConfigError

if TYPE_CHECKING:
    from datasets import DatasetDict


def read_hub_dataset(name: str, config: str | None, *, expected: str) -> "DatasetDict":
    """All splits of one configuration of a hub dataset.

    With HF_HUB_OFFLINE set the copy in the cache is read and the hub is not asked. Raises
    ConfigError when the hub cannot be reached (within seconds), lacks the dataset or the
    configuration, or does not hand it out.
    """
    from datasets import (
        get_dataset_config_names,
        get_dataset_default_config_name,
        load_dataset,
    )
    from huggingface_hub import is_offline_mode

    if not is_offline_mode():
        _check_hub(name, expected)
        with _explained(name):
            names, default = get_dataset_config_names(name), get_dataset_default_config_name(name)
        _check_config(name, config or default, names)
    with _explained(name):
        return load_dataset(name, config)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (DatasetsError, OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the dataset '{name}' could not be loaded: {error}", key="data.name"
        ) from error


def _check_hub(name: str, expected: str) -> None:
    answer = ask_hub("dataset", name)
    if answer.status == "found":
        return
    remedy = (
        "without a network, name a local file or folder, or set HF_HUB_OFFLINE=1 to read a copy "
        "that datasets has in its cache"
    )
    raise ConfigError(
        f"the dataset '{name}' was not found: no such file or folder, and {answer.reason}",
        key="data.name",
        expected=expected,
        given=name,
        choices=neighbours(Path(name)),
        remedy=remedy if answer.status == "unreachable" else None,
    )


def _check_config(name: str, config: str | None, names: list[str]) -> None:
    if config is None:
        raise ConfigError(
            f"the dataset '{name}' has several configurations and none is its default",
            key="data.config",
            expected=", ".join(names),
        )
    if config not in names:
        raise ConfigError(
            f"the dataset '{name}' has no configuration '{config}'",
            key="data.config",
            expected=", ".join(names),
            given=config,
            choices=names,
        )
