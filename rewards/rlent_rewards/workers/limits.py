"""What a call may take, and what it is called when it takes more."""

import os
from dataclasses import dataclass
from typing import Literal

Cause = Literal["timeout", "crash", "memory"]


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in the place of a value where a call has none."""

    cause: Cause


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one call may take, and how many processes may work at a time.

    Raises:
        ValueError: one of them is not positive.
    """

    timeout: float = 5.0
    """Seconds of wall-clock time."""

    memory_mb: int = 512
    """MiB of address space beyond that of an idle worker."""

    workers: int | None = None
    """Processes; None is one per core that this process may use, at most 4."""

    def __post_init__(self) -> None:
        for option in ("timeout", "memory_mb", "workers"):
            given = getattr(self, option)
            if given is not None and not given > 0:
                raise ValueError(f"{option} must be positive; given: {given}")

    @property
    def processes(self) -> int:
        """How many processes may work at a time."""
        return self.workers or min(4, _cores())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
