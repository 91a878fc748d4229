"""The list of a checkpoint's files, by which a whole one is told from a cut-off one."""

import json
import os
from pathlib import Path

LIST_FILE = "files.json"
"""Every file of the checkpoint with its size in bytes, written last."""


def seal(folder: Path) -> None:
    """Bring all files of ``folder`` to the disk, then write their list."""
    for path in _files(folder):
        _to_disk(path)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder)}
    listed = folder / LIST_FILE
    listed.write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    _to_disk(listed)


def fault(folder: Path) -> str | None:
    """Why a checkpoint is not whole, or None where every file is there in full length."""
    try:
        sizes = json.loads((folder / LIST_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it has no {LIST_FILE}, which is written last"
    except json.JSONDecodeError:
        return f"its {LIST_FILE} is cut off"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} of {size} bytes"
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LIST_FILE)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
