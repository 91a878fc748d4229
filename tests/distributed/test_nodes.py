"""Two nodes that see each other over a network alone: they train as one process does, and outlive the death of one."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main
from tests.distributed.cases import FOUR_IDEAS, largest_difference
from tests.distributed.failing_reward import with_failing_reward
from tests.distributed.namespaces import Host, two_hosts, why_not
from tests.distributed.processes import environment
from tests.launch.conftest import recipe, workplace, write  # noqa: F401

Recipe = dict[str, Any]

TIMEOUT = 30
"""Seconds; enough for a step, not for a machine that is busy to death."""


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


def start(host: Host, meet_at: Host, path: str, *more: str) -> subprocess.Popen[str]:
    """One node of a launch."""
    words = ("launch", path, "name=nodes", "--nodes", "2", "--processes-per-node", "1", *more)
    command = [sys.executable, "-m", "rlent", *words, "--head", f"{meet_at.address}:29511"]
    return subprocess.Popen(
        host.command(command),
        env=environment(GLOO_SOCKET_IFNAME=host.interface),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def steps(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


@pytest.mark.slow
def test_a_node_dies_and_the_run_ends_as_on_one_process(
    hosts: tuple[Host, Host], sharded: str
) -> None:
    alone = ["name=alone", "trainer.per_device_train_batch_size=4"]
    assert main(["train", sharded, *alone, "engine.zero=null", "engine.keep_gathered=null"]) == 0
    first, second = hosts
    run = Path("runs/nodes")
    try:
        nodes = [start(host, first, sharded, f"engine.timeout={TIMEOUT}") for host in hosts]
        wait(lambda: (run / "checkpoint-3").exists(), nodes[0])
        second.lose_power()
        nodes[1].communicate()
        # The other node waits for the one that is gone as long as it was told; a scheduler starts both again.
        nodes[0].communicate(timeout=TIMEOUT + 60)
        assert nodes[0].returncode != 0
        second.link("up")
        nodes = [start(host, first, sharded, "--resume") for host in hosts]
        shown = [node.communicate(timeout=180)[0] for node in nodes]
    finally:
        for host in hosts:
            host.kill()
    assert [node.returncode for node in nodes] == [0, 0], "\n----\n".join(shown)
    assert "resumed from checkpoint-" in shown[0]
    one, two = steps(Path("runs/alone")), steps(run)
    assert len(one) == len(two) == 8
    assert largest_difference(one[:3], two[:3], parts=True) < 1e-5
    # Rounding grows with every step of Adam; a step done twice, or not at all, is larger by orders.
    assert largest_difference(one, two, parts=True) < 1e-4


@pytest.mark.slow
def test_a_reward_fails_on_one_node_and_both_say_why(
    hosts: tuple[Host, Host],
    recipe: Recipe,  # noqa: F811
    write: Callable[..., str],  # noqa: F811
) -> None:
    path = write(with_failing_reward(recipe, from_completions=2))
    try:
        nodes = [start(host, hosts[0], path) for host in hosts]
        shown = [node.communicate(timeout=240)[0] for node in nodes]
        assert time.time() - Path("failing").stat().st_mtime < 60
    finally:
        for host in hosts:
            host.kill()
    assert [node.returncode for node in nodes] == [1, 1]
    assert "rank 1: KeyError: 'no column of that name'" in shown[0], shown[0]
    assert "KeyError: 'no column of that name'" in shown[1], shown[1]


def wait(condition: Callable[[], bool], node: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert node.poll() is None, node.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
