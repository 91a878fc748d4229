"""Ctrl-C and --resume, in real processes."""

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
from rlent.tracking import read_metrics

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]


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
def test_sigterm_writes_a_checkpoint_and_is_a_success(recipe: Recipe, write: Write) -> None:
    """What a scheduler sends before it takes the machine away; under torchrun it reaches every rank."""
    recipe["trainer"] |= {"max_steps": 400, "save_steps": 400, "per_device_train_batch_size": 2}
    recipe["evaluation"] = None
    command = [sys.executable, "-m", "rlent", "launch", write(recipe), "--processes-per-node", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = Path("runs/small/metrics.jsonl")
    wait_for(lambda: metrics.exists() and '"step": 1,' in metrics.read_text(), process)
    process.send_signal(signal.SIGTERM)
    shown, progress = process.communicate(timeout=120)
    assert "Asked to end (SIGTERM)" in progress
    assert "Stopped after step" in shown
    (checkpoint,) = Path("runs/small").glob("checkpoint-*")
    assert (checkpoint / "rank-1.pt").exists()
    assert f"Stopped after step {checkpoint.name.split('-')[1]}." in shown


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
