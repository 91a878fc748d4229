"""The checkpoint to go on from."""

import re
from collections.abc import Callable
from pathlib import Path

from rlent.checkpoints.seal import fault
from rlent.checkpoints.write import unfinished

CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def step_of(folder: Path) -> int:
    """The optimiser step after which a checkpoint was written."""
    match = CHECKPOINT.fullmatch(folder.name)
    assert match, folder
    return int(match[1])


def newest_whole(run: Path, report: Callable[[str], None]) -> Path | None:
    """The newest checkpoint of a run of which nothing is missing; None without one. Others are reported and skipped."""
    for path in unfinished(run):
        report(f"skipped {path}: it was cut off while it was written")
    for path in _newest_first(run):
        reason = fault(path)
        if reason is None:
            return path
        report(f"skipped {path}: {reason}")
    return None


def set_aside_after(run: Path, step: int) -> None:
    """Rename the checkpoints of later steps, which a run that goes on from ``step`` would take for its newest."""
    for path in _newest_first(run):
        if step_of(path) > step:
            path.rename(path.with_name(f"broken-{path.name}"))


def _newest_first(run: Path) -> list[Path]:
    found = [path for path in run.glob("checkpoint-*") if CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)
