"""Ranks as forks of one process that has imported everything: starting them takes no time.

They are processes with a memory and a gloo group of their own, started as torchrun starts them: with its environment
variables, and stopped when one of them fails. What torchrun itself does is tested in tests/launch and in test_nodes.py.

``python -m tests.distributed.forked`` reads jobs from standard input, a line of JSON each, and answers with their
return code.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

TORCHRUN_KILLED = 1
"""What torchrun returns when a rank has failed, whatever that rank returned."""


def serve() -> None:
    """Run jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # imports print things
    import_everything()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(run_job(**json.loads(line)), file=answers, flush=True)


def import_everything() -> None:
    """What ranks import, before they fork."""
    import deepspeed
    import peft

    import rlent.launch.cli
    import rlent.launch.evaluate
    import rlent.launch.train

    for module in (deepspeed, peft, rlent.launch.cli, rlent.launch.evaluate, rlent.launch.train):
        assert module.__file__


def run_job(
    *,
    command: list[str],
    environment: dict[str, str],
    directory: str,
    output: str,
    ranks: int,
    timeout: float,
) -> int:
    port = str(free_port())
    children = {
        _fork(command, environment | _ranks_environment(rank, ranks, port), directory, output): rank
        for rank in range(ranks)
    }
    failed = _wait(set(children), time.monotonic() + timeout)
    return TORCHRUN_KILLED if failed else 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _ranks_environment(rank: int, ranks: int, port: str) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "forked",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
    }


def _fork(command: list[str], environment: dict[str, str], directory: str, output: str) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        code = _run(command)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(command: list[str]) -> int:
    """A script, or ``-m`` and a module, as Python runs it."""
    module = command[0] == "-m"
    sys.argv = command[1:] if module else command
    try:
        if module:
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def _wait(children: set[int], deadline: float) -> bool:
    """Whether one of them has failed; the others are then stopped, as they are after the deadline."""
    failed = False
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            children.discard(child)
        failed = failed or status != 0 or time.monotonic() > deadline
        if failed:
            for other in children:
                os.kill(other, signal.SIGKILL)
        if not child:
            time.sleep(0.02)
    return failed


class Forks:
    """The server, as tests use it."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.distributed.forked"]
        self._server = subprocess.Popen(
            command,
            env=environment,
            cwd=environment["PYTHONPATH"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            self.close()
            raise RuntimeError("the server of forks has not started; its standard error says why")

    def run(
        self, command: list[str], ranks: int, environment: dict[str, str], timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` as so many ranks in this process's directory; what all of them print."""
        with tempfile.TemporaryDirectory() as folder:
            job = {
                "command": command,
                "environment": environment,
                "directory": os.getcwd(),
                "output": f"{folder}/rank",
                "ranks": ranks,
                "timeout": timeout,
            }
            assert self._server.stdin is not None
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            code = int(self._answer())
            shown = [Path(folder, f"rank.{name}").read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(command, code, *shown)

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def close(self) -> None:
        self._server.communicate()


if __name__ == "__main__":
    serve()
