"""Two nodes that see each other over a network alone: they train as one process does, and outlive the death of one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main
from tests.distributed.cases import FOUR_IDEAS, largest_difference
from tests.distributed.namespaces import Host, two_hosts, why_not
from tests.distributed.processes import environment
from tests.launch.conftest import recipe, workplace, write  # noqa: F401

Recipe = dict[str, Any]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    if reason := why_not():
        pytest.skip(reason)
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def sharded(recipe: Recipe, write: Callable[..., str]) -> str:  # noqa: F811
    """A recipe for two processes under ZeRO 3 whose one-process twin differs in the batch of a process alone."""
    recipe["interventions"] = FOUR_IDEAS
    recipe["rewards"] = [
        {"math_answer": {"extract": "last_number"}},
        {"format": {"pattern": "[0-9]"}},
    ]
    recipe["trainer"] |= {"max_steps": 8, "num_iterations": 2, "save_steps": 1, "beta": 0.1}
    recipe["trainer"]["per_device_train_batch_size"] = 2
    recipe["engine"] |= {"zero": 3, "keep_gathered": 0}
    recipe["evaluation"] = None
    return write(recipe)


def start(host: Host, meet_at: Host, path: str) -> subprocess.Popen[str]:
    """One node of a launch; its own process group, so that it can be killed as a machine dies."""
    words = ("launch", path, "name=nodes", "--nodes", "2", "--processes-per-node", "1")
    command = ["rlent", *words, "--head", f"{meet_at.address}:29511", "--max-restarts", "2"]
    return subprocess.Popen(
        host.command([sys.executable, "-m", *command]),
        env=environment(GLOO_SOCKET_IFNAME=host.interface),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def steps(run: Path) -> dict[str, list[dict[str, Any]]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {"steps": [row for row in rows if "loss" in row]}


@pytest.mark.slow
def test_a_node_dies_and_the_run_ends_as_on_one_process(
    hosts: tuple[Host, Host], sharded: str
) -> None:
    alone = ["name=alone", "trainer.per_device_train_batch_size=4"]
    assert main(["train", sharded, *alone, "engine.zero=null", "engine.keep_gathered=null"]) == 0
    first, second = hosts
    nodes = [start(host, first, sharded) for host in hosts]
    run = Path("runs/nodes")
    try:
        wait(lambda: (run / "checkpoint-3").exists(), nodes[0])
        os.killpg(nodes[1].pid, signal.SIGKILL)
        nodes[1].wait()
        nodes[1] = start(second, first, sharded)
        shown = [node.communicate(timeout=240)[0] for node in nodes]
    finally:
        for node in nodes:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
    assert [node.returncode for node in nodes] == [0, 0], shown
    assert "resumed from checkpoint-" in "".join(shown)
    assert largest_difference(steps(Path("runs/alone")), steps(run), count=8) < 1e-5


def wait(condition: Callable[[], bool], node: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert node.poll() is None, node.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
