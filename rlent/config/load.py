"""A recipe from its file."""

from collections.abc import Iterable
from pathlib import Path

from rlent.config.overrides import apply_overrides
from rlent.config.parse import parse_recipe
from rlent.config.recipe import Recipe
from rlent.config.source import parse_source
from rlent.config.validate import short_list
from rlent.errors import ConfigError


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file, with ``key.path=value`` overrides in order.

    Raises:
        ConfigError: the file cannot be read, or something in it must be changed.
    """
    path = Path(path)
    source = apply_overrides(parse_source(_text(path), str(path)), overrides)
    return parse_recipe(source, name=path.stem)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise _not_found(path) from error
    except IsADirectoryError as error:
        raise ConfigError(
            "a folder, not a recipe file",
            where=str(path),
            expected=short_list(_recipes_in(path)) or "a YAML file",
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            where=f"{path}:{line}",
            remedy="save the file as UTF-8",
        ) from error


def _not_found(path: Path) -> ConfigError:
    if not path.parent.is_dir():
        return ConfigError(
            "no such file, and no such folder", where=str(path), given=str(path.parent)
        )
    return ConfigError(
        "no such file",
        where=str(path),
        expected=short_list(_recipes_in(path.parent)),
        given=path.name,
        choices=_recipes_in(path.parent),
    )


def _recipes_in(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
