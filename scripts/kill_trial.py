"""Kill a run with SIGKILL at random moments, resume it each time, and compare its end with that of an undisturbed run.

    python scripts/kill_trial.py recipes/quickstart.yaml --kills 20

Every third kill waits for a checkpoint that is being written. Compared are, bit for bit, the trained weights, every
metric but times and the summary of the last process, and every rollout; and each process must go on from the newest
checkpoint that the one before has left. Exit status 1 if something differs.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors import safe_open

from rlent.checkpoints import UNFINISHED

TIMES = ("time", "runtime", "per_second")
"""Parts of the names of metrics that measure the machine."""


def main() -> int:
    options = parser().parse_intermixed_args()
    folder = options.folder
    command = [
        *(sys.executable, "-m", "rlent", "train", str(options.recipe), f"output_dir={folder}"),
        *options.overrides,
    ]
    subprocess.run([*command, "name=undisturbed"], check=True, stdout=subprocess.DEVNULL)
    moments = random.Random(options.seed)
    run, kills = folder / "killed", []
    differences: list[str] = []
    command.append("name=killed")
    while len(kills) < options.kills and not finished(run):
        writing = len(kills) % 3 == 2
        with going_on(command, run, differences) as process:
            kills.append(kill_once(process, run, moments, writing=writing))
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
    while not finished(run):
        with going_on(command, run, differences) as process:
            if process.wait() != 0:
                raise SystemExit(f"the run has ended with status {process.returncode}")
    differences += compare(folder / "undisturbed", run)
    print(f"{len(kills)} kills, {len(differences)} differences")
    for difference in differences:
        print(f"  {difference}")
    return bool(differences) or len(kills) < options.kills


def parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="values of the recipe to replace"
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/kill-trial"), help="must not exist"
    )
    return parser


def finished(run: Path) -> bool:
    return (run / "model").exists()


def newest_checkpoint(run: Path) -> int:
    """Its step; a checkpoint that was being written has no place among these. 0 without one."""
    return max((int(path.name.split("-")[1]) for path in run.glob("checkpoint-*")), default=0)


@contextmanager
def going_on(
    command: list[str], run: Path, differences: list[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts or resumes the run; where it did not go on from the newest checkpoint is a difference."""
    newest, steps = newest_checkpoint(run), last_step(run)
    # A process that is killed takes with it what it has not written yet.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile() as said:
        yield subprocess.Popen(
            [*command, "--resume"] if newest else command,
            env=environment,
            stdout=said,
            stderr=subprocess.DEVNULL,
        )
        said.seek(0)
        found = re.search(r"resumed from checkpoint-(\d+)", said.read().decode())
    began = int(found[1]) if found else 0
    killed_before_it_began = found is None and last_step(run) == steps
    if began != newest and not killed_before_it_began:
        differences.append(f"start: after step {began}, the newest checkpoint was {newest}")


def kill_once(
    process: subprocess.Popen[bytes], run: Path, moments: random.Random, *, writing: bool
) -> str:
    """Kill the process; where the run was when it died."""
    first = last_step(run)
    steps = moments.randrange(2)
    wait(process, lambda: last_step(run) >= first + steps + (first == 0))
    if writing:
        wait(process, lambda: any((run / UNFINISHED).glob("checkpoint-*/*")))
    else:
        time.sleep(moments.uniform(0.0, 0.5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut_off = any((run / UNFINISHED).glob("checkpoint-*"))
    return f"newest checkpoint {newest_checkpoint(run)}" + (
        ", while another was being written" if cut_off else ""
    )


def wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    while not condition():
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be killed: give it more steps")
        time.sleep(0.001)


def last_step(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count('"loss"') if path.exists() else 0


def compare(one: Path, other: Path) -> list[str]:
    """What differs between two runs."""
    return [
        *(f"weight {name}" for name in different(weights(one), weights(other))),
        *(f"metrics of line {number}" for number in different(metrics(one), metrics(other))),
        *(f"rollouts {name}" for name in different(rollouts(one), rollouts(other))),
    ]


def different(one: dict[Any, Any], other: dict[Any, Any]) -> list[Any]:
    return [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]


def weights(run: Path) -> dict[str, bytes]:
    with safe_open(run / "model" / "model.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def metrics(run: Path) -> dict[int, dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if "train_runtime" not in line]
    return {
        number: {
            name: value for name, value in row.items() if not any(word in name for word in TIMES)
        }
        for number, row in enumerate(rows)
    }


def rollouts(run: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.name: pq.read_table(path).to_pylist() for path in (run / "rollouts").glob("*.parquet")
    }


if __name__ == "__main__":
    sys.exit(main())
