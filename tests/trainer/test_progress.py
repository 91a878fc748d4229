"""The progress of a run, on a terminal and off it."""

import fcntl
import os
import pty
import re
import struct
import termios

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from rlent.trainer.callbacks import ProgressCallback

ARGUMENTS = TrainingArguments("out", use_cpu=True, report_to=[])


def shown(columns: int) -> str:
    """What two steps of three show on a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with open(slave, "w") as stream:
        callback = ProgressCallback(stream)
        state = TrainerState(max_steps=3, is_world_process_zero=True)
        control = TrainerControl()
        callback.on_train_begin(ARGUMENTS, state, control)
        for step in (1, 2):
            state.global_step = step
            callback.on_step_end(ARGUMENTS, state, control)
            logs = {"reward": 0.25 * step, "entropy": 1.5, "held_out/score": 0.125, "loss": 1.0}
            callback.on_log(ARGUMENTS, state, control, logs)
        callback.on_train_end()
        stream.flush()
        text = os.read(master, 65536).decode()
    os.close(master)
    return text


def test_a_terminal_shows_a_bar_with_reward_entropy_and_time_left() -> None:
    last = re.split(r"[\r\n]+", shown(columns=140).strip())[-1]
    for part in ("training", "2/3", "reward=0.500", "entropy=1.500", "held-out=0.125", "<"):
        assert part in last


def test_a_terminal_without_width_shows_lines() -> None:
    lines = shown(columns=0).splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        r"step 2/3  reward 0\.500  entropy 1\.500  held-out 0\.125  [\d.]+ s/step  \d+:\d\d left",
        lines[1],
    )


def test_lines_without_a_reward_are_not_progress(capsys: pytest.CaptureFixture[str]) -> None:
    callback = ProgressCallback()
    state = TrainerState(max_steps=3, is_world_process_zero=True)
    callback.on_train_begin(ARGUMENTS, state, TrainerControl())
    callback.on_log(ARGUMENTS, state, TrainerControl(), {"train_runtime": 3.0})
    assert capsys.readouterr().err == ""
