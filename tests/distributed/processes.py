"""Starting workers: as forks where only the ranks matter, under torchrun where that matters too."""

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.distributed.forked import Forks

WORKERS = Path(__file__).parent / "workers"
ROOT = str(Path(__file__).parents[2])


def torchrun(ranks: int, *script: str, node: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """The command that runs ``script`` as ``ranks`` processes."""
    run = (sys.executable, "-m", "torch.distributed.run")
    return [*run, *node, f"--nproc-per-node={ranks}", *script]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1", **more}


@functools.cache
def forks() -> Forks:
    server = Forks(environment())
    atexit.register(server.close)
    return server


def launch(worker: str, ranks: int, folder: Path, *arguments: str) -> list[dict]:
    """Run a worker on gloo; what each rank wrote as ``rank-N.json``."""
    result = run(worker, ranks, folder, *arguments)
    assert result.returncode == 0, result.stderr[-4000:]
    return written(folder, ranks)


def run(worker: str, ranks: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forks().run([str(WORKERS / worker), str(folder), *arguments], ranks, environment())


def run_under_torchrun(
    worker: str, ranks: int, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """The same with processes that import for themselves, as they must where an import reads the environment."""
    command = torchrun(ranks, str(WORKERS / worker), str(folder), *arguments)
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def rlent(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, on so many ranks."""
    return forks().run(["-m", "rlent", *arguments], ranks, environment())


def written(folder: Path, ranks: int) -> list[dict]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]
