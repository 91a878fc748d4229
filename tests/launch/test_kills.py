"""kill -9, again and again: the committed trial, with few kills."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRIAL = Path(__file__).parents[2] / "scripts" / "kill_trial.py"


@pytest.mark.slow
def test_five_kills_change_nothing(recipe: dict[str, Any], write: Callable[..., str]) -> None:
    """Weights, metrics and rollouts are bitwise those of an undisturbed run.

    Each process goes on from the newest checkpoint that was there. Also where a kill hits a checkpoint that is being
    written, a generation batch that is half used, and a log line that is half summed.
    """
    recipe["trainer"] |= {
        "max_steps": 60,
        "save_steps": 1,
        "logging_steps": 2,
        "steps_per_generation": 4,
    }
    recipe["evaluation"] |= {"every": 7}
    command = [sys.executable, str(TRIAL), write(recipe), "--kills", "5", "--folder", "runs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "5 kills, 0 differences" in done.stdout
    assert "while another was being written" in done.stdout
