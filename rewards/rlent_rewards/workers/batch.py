"""A batch of calls, dealt out to the workers of a pool as they become free."""

import selectors
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from rlent_rewards.workers import frames
from rlent_rewards.workers.limits import Cause, Failure, Limits
from rlent_rewards.workers.pool import Pool
from rlent_rewards.workers.process import Process

Call = tuple[str, tuple[Any, ...]]
"""The name of a function of the pool's module, and its arguments, which JSON can carry."""

_FULL_PIPE_SECONDS = 0.005  # until more of a call of many KB is written
_AHEAD = 4  # calls that a worker is sent at most before it answers, so that it need not wait


def run(pool: Pool, calls: Sequence[Call], limits: Limits) -> list[Any]:
    """The value of each call, or a ``Failure``, which takes no other call with it.

    Raises:
        RuntimeError: the workers do not start.
    """
    if not calls:
        return []
    with pool.borrower():
        return _Batch(pool, calls, limits).run()


class _Batch:
    """Calls in progress, and the workers that are held for them."""

    def __init__(self, pool: Pool, calls: Sequence[Call], limits: Limits) -> None:
        self._pool, self._limits = pool, limits
        memory = limits.memory_mb * 2**20
        self._requests = [frames.pack([*call, limits.timeout, memory]) for call in calls]
        self._outcomes: list[Any] = [None] * len(calls)
        self._pending = deque(range(len(calls)))
        self._held: list[Process] = []

    def run(self) -> list[Any]:
        with selectors.DefaultSelector() as self._selector:
            try:
                self._deal()
                while self._held:
                    self._wait()
                    self._deal()
            finally:
                for process in list(self._held):  # only after an exception
                    self._give_back(process, usable=False)
        return self._outcomes

    def _deal(self) -> None:
        """Keep this batch's share of the workers busy, and give the rest back."""
        share = self._pool.share(self._limits)
        self._hold(min(share, len(self._held) + len(self._pending)))
        mine = self._held[:share]
        for ahead in range(_AHEAD):
            for process in mine:
                if self._pending and process.ready and len(process.calls) == ahead:
                    number = self._pending.popleft()
                    process.send(number, self._requests[number], self._limits.timeout)
        for process in list(self._held):
            if not process.calls and not (self._pending and process in mine):
                self._give_back(process, usable=True)

    def _hold(self, count: int) -> None:
        while len(self._held) < count:
            process = self._pool.acquire(self._limits, wait=not self._held)
            if process is None:
                return
            self._held.append(process)
            self._selector.register(process.replies, selectors.EVENT_READ, process)

    def _give_back(self, process: Process, *, usable: bool) -> None:
        self._held.remove(process)
        self._selector.unregister(process.replies)
        self._pool.release(process, usable=usable)

    def _wait(self) -> None:
        """Listen to the workers, and kill those that are over their time."""
        patience = min(process.deadline for process in self._held) - time.monotonic()
        flushed = [process.flush() for process in self._held]
        if not all(flushed):
            patience = min(patience, _FULL_PIPE_SECONDS)
        for key, _ in self._selector.select(max(0.0, patience)):
            self._listen(key.data)
        now = time.monotonic()
        for process in [process for process in self._held if process.deadline <= now]:
            self._bury(process, "timeout")

    def _listen(self, process: Process) -> None:
        retires = False
        for kind, value, last in process.receive(self._limits.timeout):
            if kind == "failed":
                raise RuntimeError(f"a worker does not start: {value}")
            if kind == "ready":
                process.ready = True
                self._pool.note_start(succeeded=True)
                continue
            self._outcomes[process.calls.popleft()] = value if kind == "value" else Failure(kind)
            retires = last
        if retires:
            self._bury(process, None)
        elif process.over:
            self._bury(process, process.cause_of_death())

    def _bury(self, process: Process, cause: Cause | None) -> None:
        """Blame the call that a worker was at for its end, and deal its other calls out again."""
        if not process.ready:
            self._pool.note_start(succeeded=False)
        elif process.calls and cause is not None:
            self._outcomes[process.calls.popleft()] = Failure(cause)
        self._pending.extendleft(reversed(process.calls))
        process.calls.clear()
        self._give_back(process, usable=False)
