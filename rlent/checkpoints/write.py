"""Writing a checkpoint beside the finished ones, and putting it among them in one move."""

import os
import shutil
from pathlib import Path

from rlent.checkpoints.seal import seal

UNFINISHED = "unfinished-checkpoints"
"""Folder of a run in which checkpoints are written. What a run finds there at its start was cut off."""


def unfinished(run: Path) -> list[Path]:
    """Checkpoints that were being written when an earlier process ended."""
    return sorted((run / UNFINISHED).glob("checkpoint-*"))


def publish(folder: Path, run: Path) -> None:
    """Seal ``folder`` and move it into ``run``: whoever looks finds the whole of it or nothing.

    A folder of the same name, which a run that went back to an older checkpoint has left, is replaced.
    """
    seal(folder)
    target = run / folder.name
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    _list_to_disk(run)


def _list_to_disk(folder: Path) -> None:
    """A rename is on the disk when the folder that lists it is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
