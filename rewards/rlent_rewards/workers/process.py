"""One worker as its parent sees it: a process, its two pipes and the calls that it has been sent."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from typing import Any

from rlent_rewards.workers import frames
from rlent_rewards.workers.limits import Cause

_START_SECONDS = 300.0  # loading SymPy from a network file system for the first time can take long
_GRACE_SECONDS = 0.5  # for the kernel's alarm in the worker, which should come first
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
_SET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # SymPy's order of terms, and so its way to a verdict, depends on it
}
# The working directory must not come first on the path, not even while the path is being set.
_PROGRAM = """\
import sys
module, last_call, *sys.path = sys.argv[1:]
from rlent_rewards.workers.main import main
main(module, int(last_call))
"""


class Process:
    """A process that has been started; it is ``ready`` when it has said so."""

    def __init__(self, module: str, recycle_after: int) -> None:
        path = [os.path.abspath(folder) for folder in sys.path]
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, module, str(recycle_after), *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            process_group=0,  # Ctrl-C is for the parent
            cwd="/",
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | _SET,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._requests, self.replies = self._popen.stdin, self._popen.stdout
        os.set_blocking(self._requests.fileno(), False)
        self._unsent, self._buffer = bytearray(), bytearray()
        self.pid = self._popen.pid
        self.calls = deque[int]()
        """Numbers of the calls that it has been sent, the one it is at first."""
        self.ready = False
        self.over = False
        """Whether its pipe has ended, so that no call will be answered any more."""
        self.deadline = time.monotonic() + _START_SECONDS
        """When the parent kills it: an alarm in the worker should have done so before."""

    def send(self, number: int, request: bytes, timeout: float) -> None:
        """Give it a call to do after those that it has."""
        self.calls.append(number)
        if len(self.calls) == 1:
            self._set_deadline(timeout)
        self._unsent += request
        self.flush()

    def flush(self) -> bool:
        """Write what the pipe takes now; whether that was all."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self._requests.fileno(), self._unsent)]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self._unsent.clear()  # its replies end too, and that is where its end is seen
        return True

    def receive(self, timeout: float) -> list[Any]:
        """The messages that have come since the last time, at least one or the end of the pipe."""
        read = os.read(self.replies.fileno(), 65536)
        self.over = not read
        self._buffer += read
        messages = frames.unpack(self._buffer)
        if messages:
            self._set_deadline(timeout)
        return messages

    def _set_deadline(self, timeout: float) -> None:
        self.deadline = time.monotonic() + timeout + _GRACE_SECONDS

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def cause_of_death(self) -> Cause:
        """Why a worker ended whose pipe is at its end."""
        try:
            status = self._popen.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "crash"  # it closed its pipe, and lives
        return "timeout" if status == -signal.SIGALRM else "crash"

    def kill(self) -> None:
        """End it, whatever it does, and close the pipes."""
        self._popen.kill()
        self._popen.wait()
        self._close()

    def disown(self) -> None:
        """In a forked copy of the parent: let go of what belongs to the parent."""
        self._popen.returncode = 0  # a child of another process, which nobody here can wait for
        self._close()

    def _close(self) -> None:
        self._requests.close()
        self.replies.close()
