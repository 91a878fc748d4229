"""Whether processes are there."""

import time
from collections.abc import Iterable
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def all_gone(pids: Iterable[int], *, within: float) -> bool:
    """Whether none of the processes runs after so many seconds."""
    end = time.monotonic() + within
    left = list(pids)
    while left := [pid for pid in left if alive(pid)]:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
