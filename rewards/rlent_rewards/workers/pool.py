"""The workers of a process: started when they are needed, lent out, replaced when gone."""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from rlent_rewards.workers.limits import Limits
from rlent_rewards.workers.process import Process

_STARTS = 3


class Pool:
    """Workers that call the functions of one module, lent to whoever runs a batch in any thread.

    The module has a function ``warm_up``, called once in each worker before it counts as started.
    """

    def __init__(self, module: str, *, recycle_after: int = 10_000) -> None:
        """``recycle_after``: calls after which a worker is replaced by a fresh one."""
        self._module, self._recycle_after = module, recycle_after
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        # Weak, so that a worker that an exception drops somewhere does not count for ever.
        self._processes: WeakSet[Process] = WeakSet()
        self._borrowers = 0
        self._idle: list[Process] = []
        self._failed_starts = 0

    @property
    def pids(self) -> list[int]:
        """The processes that there are now."""
        with self._changed:
            return sorted(process.pid for process in self._processes)

    def close(self) -> None:
        """End all processes; a later call starts new ones."""
        with self._changed:
            for process in list(self._processes):
                self._discard(process)
            self._idle.clear()

    def abandon(self) -> None:
        """In a forked copy of the process: start anew, with no worker and no lock of the parent."""
        for process in list(self._processes):
            process.disown()
        self._begin()

    @contextmanager
    def borrower(self) -> Iterator[None]:
        """The time during which one more batch wants workers."""
        with self._changed:
            self._borrowers += 1
        try:
            yield
        finally:
            with self._changed:
                self._borrowers -= 1

    def share(self, limits: Limits) -> int:
        """How many workers a borrower may hold, so that all of them can work at the same time."""
        with self._changed:
            return max(1, limits.processes // self._borrowers)

    def acquire(self, limits: Limits, *, wait: bool) -> Process | None:
        """An idle worker or a new one; None if all are taken and ``wait`` is false."""
        with self._changed:
            while (process := self._idle_or_new(limits)) is None and wait:
                self._changed.wait(timeout=1.0)
            return process

    def _idle_or_new(self, limits: Limits) -> Process | None:
        self._idle.sort(key=lambda process: process.ready)
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            self._discard(process)
        if len(self._processes) >= limits.processes:
            return None
        process = Process(self._module, self._recycle_after)
        self._processes.add(process)
        return process

    def release(self, process: Process, *, usable: bool) -> None:
        """Take a worker back, or kill it if it cannot be used any more."""
        with self._changed:
            if usable:
                self._idle.append(process)
            else:
                self._discard(process)
            self._changed.notify_all()

    def _discard(self, process: Process) -> None:
        process.kill()
        self._processes.discard(process)

    def note_start(self, *, succeeded: bool) -> None:
        """Raise RuntimeError when several workers in a row ended before they were ready."""
        with self._changed:
            self._failed_starts = 0 if succeeded else self._failed_starts + 1
            if self._failed_starts < _STARTS:
                return
            self._failed_starts = 0
        raise RuntimeError(
            f"{_STARTS} workers for {self._module} in a row ended before they were ready"
        )


_pools: WeakSet[Pool] = WeakSet()


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _abandon_all() -> None:
    for pool in list(_pools):
        pool.abandon()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
