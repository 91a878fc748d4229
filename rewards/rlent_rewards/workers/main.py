"""What a process of ``workers`` runs: calls that it reads from a pipe, each within its limits.

The kernel ends it where a call takes too long, also in the midst of C code and also where nobody is
left who waits for it. Between calls it ends with the pipe that it reads from.
"""

import gc
import os
import resource
import signal
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from rlent_rewards.workers import frames

_STATM = "/proc/self/statm"
_PAGE = resource.getpagesize()


def main(module: str, last_call: int) -> None:
    """Answer calls of the functions of ``module`` until the pipe ends, at most ``last_call`` of them.

    The first message says whether the module could be loaded; ``module.warm_up`` is called first.
    """
    _obey_the_alarm()
    reply = _private_pipe()
    try:
        functions = import_module(module)
        functions.warm_up()
    except BaseException as error:
        reply(["failed", f"{type(error).__name__}: {error}", True])
        os._exit(1)
    reply(["ready", None, False])
    _serve(functions, last_call, reply)
    os._exit(0)


def _serve(functions: ModuleType, last_call: int, reply: Callable[[Any], None]) -> None:
    gc.freeze()  # what is loaded now stays, and need not be looked through again
    _forbid_files()
    idle_size = _size()
    with open(0, "rb", closefd=False) as requests:
        for call in range(1, last_call + 1):
            request = frames.read(requests)
            if request is None:
                return
            name, arguments, timeout, memory = request
            kind, value = _limited(getattr(functions, name), arguments, timeout, idle_size + memory)
            # What a call has left behind must not take the room of the calls that follow.
            swollen = _size() > idle_size + memory // 2
            reply([kind, value, call == last_call or swollen])
            if swollen:
                return


def _limited(
    function: Callable[..., Any], arguments: list[Any], timeout: float, memory: int
) -> tuple[str, Any]:
    """The kind of outcome and the value; the process ends by SIGALRM after ``timeout`` seconds."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        return "value", function(*arguments)
    except MemoryError:
        return "memory", None
    except BaseException as error:
        return "crash", type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _obey_the_alarm() -> None:
    """Let SIGALRM end the process, whatever was inherited."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])


def _private_pipe() -> Callable[[Any], None]:
    """Sends a message to the parent; what anything prints from now on is lost."""
    pipe = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def send(message: Any) -> None:
        rest = memoryview(frames.pack(message))
        while rest:
            rest = rest[os.write(pipe, rest) :]

    return send


def _forbid_files() -> None:
    """No byte can be written to a file any more, no core dump either."""
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def _size() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    try:
        with open(_STATM, "rb") as statm:
            return int(statm.read().split()[0]) * _PAGE
    except FileNotFoundError:
        return 0
