"""Ctrl-C, SIGTERM, kill -9, and how a run goes on after them, in real processes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlent.launch.cli import main
from rlent.launch.resume import RESTART_COUNTS, was_restarted
from rlent.tracking import read_metrics

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]

TWO = ["--processes-per-node", "2"]
TORCHRUN_ENDED = 1
"""What torchrun returns after SIGTERM, whatever its processes have returned."""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def rewards(run: Path) -> list[tuple[int, float]]:
    return [
        (row["step"], row["reward"])
        for row in read_metrics(run / "metrics.jsonl")
        if "reward" in row
    ]


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_run_that_was_not_interrupted(
    recipe: Recipe, write: Write
) -> None:
    """Same rewards at every step, same weights at the end: rollouts, optimiser and random states go on."""
    recipe["trainer"] |= {"max_steps": 6, "save_steps": 3, "lr_scheduler_type": "constant"}
    path = write(recipe)
    assert main(["train", path, "name=whole"]) == 0

    command = [sys.executable, "-m", "rlent", "train", path, "name=cut"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = Path("runs/cut/metrics.jsonl")
    wait_for(lambda: metrics.exists() and '"step": 1,' in metrics.read_text(), process)
    process.send_signal(signal.SIGINT)
    shown, progress = process.communicate(timeout=120)
    assert process.returncode == 130, progress
    assert "writing a checkpoint" in progress
    assert "--resume" in shown
    stopped = max(step for step, _ in rewards(Path("runs/cut")))
    assert stopped < 6

    assert main(["train", path, "name=cut", "--resume"]) == 0
    assert rewards(Path("runs/cut")) == rewards(Path("runs/whole"))
    for name, expected in weights(Path("runs/whole")).items():
        assert torch.allclose(weights(Path("runs/cut"))[name], expected, atol=1e-6), name


@pytest.mark.slow
def test_a_killed_run_resumes_from_its_last_checkpoint(recipe: Recipe, write: Write) -> None:
    recipe["trainer"] |= {"max_steps": 400, "save_steps": 2}
    recipe["evaluation"] = None
    path = write(recipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "rlent", "train", path],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    run = Path("runs/small")
    wait_for(lambda: (run / "checkpoint-4").exists(), process)
    process.kill()
    process.wait()
    done = max(int(folder.name.split("-")[1]) for folder in run.glob("checkpoint-*"))
    assert main(["train", path, "--resume", f"trainer.max_steps={done + 4}"]) == 0
    steps = [step for step, _ in rewards(run)]
    assert steps == list(range(1, done + 5))


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 120
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "status"), [(["train"], 0), (["launch", *TWO], TORCHRUN_ENDED)])
def test_sigterm_writes_a_checkpoint(
    words: list[str], status: int, recipe: Recipe, write: Write
) -> None:
    """What a scheduler sends before it takes the machine away; under torchrun it reaches every rank."""
    recipe["trainer"] |= {"max_steps": 400, "save_steps": 400, "per_device_train_batch_size": 2}
    recipe["evaluation"] = None
    command = [sys.executable, "-m", "rlent", words[0], write(recipe), *words[1:]]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = Path("runs/small/metrics.jsonl")
    wait_for(lambda: metrics.exists() and '"step": 1,' in metrics.read_text(), process)
    process.send_signal(signal.SIGTERM)
    shown, progress = process.communicate(timeout=120)
    assert process.returncode == status
    assert "Asked to end (SIGTERM)" in progress
    (checkpoint,) = Path("runs/small").glob("checkpoint-*")
    assert f"Stopped after step {checkpoint.name.split('-')[1]}." in shown
    assert (checkpoint / "rank-1.pt").exists() == (words[0] == "launch")


@pytest.mark.slow
def test_a_dead_worker_is_restarted_from_the_newest_checkpoint(
    recipe: Recipe, write: Write
) -> None:
    recipe["trainer"] |= {"max_steps": 10, "save_steps": 1, "per_device_train_batch_size": 2}
    recipe["evaluation"] = None
    command = [sys.executable, "-m", "rlent", "launch", write(recipe), *TWO, "--max-restarts", "1"]
    process = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    run = Path("runs/small")
    wait_for(lambda: (run / "checkpoint-2").exists(), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    shown, _ = process.communicate(timeout=240)
    assert process.returncode == 0, shown
    found = re.search(r"resumed from checkpoint-(\d+)", shown)
    assert found is not None
    assert int(found[1]) >= 2
    assert [step for step, _ in rewards(run)] == list(range(1, 11))
    assert [path.name for path in Path("runs").iterdir()] == ["small"]


@pytest.mark.parametrize(
    ("variables", "restarted"),
    [
        ({}, False),
        ({"TORCHELASTIC_RESTART_COUNT": "0", "SLURM_RESTART_COUNT": "0"}, False),
        ({"TORCHELASTIC_RESTART_COUNT": "1"}, True),
        ({"TORCHELASTIC_RESTART_COUNT": "0", "SLURM_RESTART_COUNT": "2"}, True),
    ],
)
def test_launchers_count_their_restarts(
    variables: dict[str, str], restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in RESTART_COUNTS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert was_restarted() is restarted


@pytest.mark.slow
def test_a_requeued_job_goes_on_with_its_own_run(
    recipe: Recipe,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(recipe)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert main(["train", path]) == 0
    shutil.rmtree("runs/small/model")  # as if it had been stopped before its end
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(["train", path, "trainer.max_steps=6"]) == 0
    assert "runs/small, resumed from checkpoint-4" in capsys.readouterr().out
    assert [step for step, _ in rewards(Path("runs/small"))] == [1, 2, 3, 4, 5, 6]
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert main(["train", path]) == 0
    assert "restarted before the first checkpoint" in capsys.readouterr().out
    assert [step for step, _ in rewards(Path("runs/small-2"))] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_broken_checkpoint_is_said_and_passed_over(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["trainer"] |= {"max_steps": 4, "save_steps": 2}
    path = write(recipe)
    assert main(["train", path]) == 0
    broken = Path("runs/small/checkpoint-4/model.safetensors")
    broken.write_bytes(broken.read_bytes()[:-1])
    assert main(["train", path, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "skipped runs/small/checkpoint-4: model.safetensors has" in shown
    assert "resumed from checkpoint-2" in shown
    assert Path("runs/small/broken-checkpoint-4").exists()
    assert [step for step, _ in rewards(Path("runs/small"))] == [1, 2, 3, 4]
