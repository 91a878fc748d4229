"""``rlent`` as a process of its own on one core, with what it says in a file."""

import os
import subprocess
import sys
from pathlib import Path


def rlent(log: Path, *words: str) -> None:
    """Run ``rlent WORDS``.

    Raises:
        RuntimeError: it has failed; names the file.
    """
    command = [sys.executable, "-m", "rlent", *words]
    with log.open("w") as output:
        finished = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    if finished.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; see {log}")
