"""Names in a recipe that may be files or folders."""

from pathlib import Path

from rlent.errors import ConfigError


def is_path_like(name: str) -> bool:
    """True for names that cannot be hub ids: rooted, relative with dots, or with two slashes."""
    return name.startswith(("/", "~", "./", "../")) or name.count("/") > 1 or "\\" in name


def missing_path(name: str, key: str, *, expected: str) -> ConfigError:
    """The error for a file or folder that is not there, with the nearest name beside it."""
    absent = Path(name).expanduser()
    while not absent.parent.is_dir():
        absent = absent.parent
    return ConfigError(
        f"there is no file or folder '{absent}'",
        key=key,
        expected=expected,
        given=absent.name,
        choices=neighbours(absent),
    )


def neighbours(path: Path) -> list[str]:
    """Names of the files and folders in the folder that `path` would be in."""
    return sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
