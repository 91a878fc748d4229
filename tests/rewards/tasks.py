"""What the workers of the tests are asked to do, most of it bad."""

import ctypes
import os
import signal
import sys
import time
from typing import Any

_kept: list[bytearray] = []


def warm_up() -> None:
    """Nothing to load."""


def double(number: Any) -> Any:
    return number * 2


def echo(value: Any) -> Any:
    return value


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def spin() -> None:
    while True:
        pass


def spin_in_c() -> int:
    """One call of the interpreter that takes hours and looks at no Python signal handler."""
    return 7 ** (10**9)


def deaf() -> None:
    """Hangs, and blocks the alarm that should end it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    spin()


def leave(code: int) -> None:
    os._exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def raise_error(name: str) -> None:
    raise {"recursion": RecursionError, "exit": SystemExit, "value": ValueError}[name]


def take_memory(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20)) >> 20


def hoard() -> None:
    """Takes memory bit by bit, as computer algebra does."""
    hoarded = []
    while True:
        hoarded.append(bytes(100_000))


def keep_memory(megabytes: int) -> int:
    """Takes memory that is still taken when the next call comes."""
    _kept.append(bytearray(megabytes * 2**20))
    return os.getpid()


def speak() -> str:
    print("to nobody")
    print("to nobody", file=sys.stderr)
    return "spoken"


def pid() -> int:
    return os.getpid()


def surroundings() -> dict[str, Any]:
    return {
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "main": sys.modules["__main__"].__dict__.get("__file__"),
    }


def write_file(path: str) -> None:
    with open(path, "w") as file:
        file.write("written")


def judge(answer: str | None, reference: str, strict: bool) -> tuple[str, None]:
    """In the place of ``algebra.judge``: an answer says what happens."""
    if answer in ("spin", "segfault"):
        globals()[answer]()
    if answer == "hog":
        take_memory(100_000)
    return "unparsed" if answer is None else "correct", None
