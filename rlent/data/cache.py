"""Models that are made once on this machine, as folders that are whole or not there."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlent.errors import ConfigError

COMPLETE = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")


def cache_root() -> Path:
    """``$RLENT_CACHE``, else ``$XDG_CACHE_HOME/rlent``, else ``~/.cache/rlent``."""
    if own := os.environ.get("RLENT_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rlent"


def model_folder(name: str, cache_dir: Path | None = None) -> Path:
    """``<cache>/models/<name>``, where `cache_dir` is `cache_root()` by default."""
    return (cache_dir or cache_root()) / "models" / name


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A path to write to in place of `folder`, which appears when all is written, or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        whole = Path(scratch) / "model"
        yield whole
        try:
            whole.rename(folder)
        except OSError as error:
            # Another rank of the same run finished first: its folder is as whole as ours.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def check_complete(folder: Path, name: str) -> Path:
    """The folder itself. Raises ConfigError when files of the model are missing in it."""
    missing = [file for file in COMPLETE if not (folder / file).is_file()]
    if missing:
        raise ConfigError(
            f"the model in {folder} lacks {', '.join(missing)}",
            key="model.name",
            given=name,
            remedy=f"delete the folder {folder}; the next run writes it again",
        )
    return folder
