"""Checkpoints that are whole or not there: written under another name, listed file by file, renamed."""

from rlent.checkpoints.find import newest_whole, set_aside_after, step_of
from rlent.checkpoints.seal import fault, seal
from rlent.checkpoints.universal import make_universal, ranks_of
from rlent.checkpoints.write import UNFINISHED, publish

__all__ = [
    "UNFINISHED",
    "fault",
    "make_universal",
    "newest_whole",
    "publish",
    "ranks_of",
    "seal",
    "set_aside_after",
    "step_of",
]
