"""The progress of a run, on a terminal and off it."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from typing import Any

import pyte
import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from rlent.tracking.live_view import Progress, clock, shaded, sparkline
from rlent.trainer.callbacks import HealthCallback, ProgressCallback

ARGUMENTS = TrainingArguments("out", use_cpu=True, report_to=[])
LOGS = {
    "reward": 0.25,
    "entropy": 1.5,
    "forking_tokens/entropy_kept": 2.25,
    "forking_tokens/entropy_dropped": 0.125,
    "completions/mean_length": 27.0,
    "completions/max_length": 31.0,
    "completions/clipped_ratio": 0.0625,
    "clip_ratio/low_mean": 0.01,
    "clip_ratio/high_mean": 0.02,
    "time/rollout": 3.0,
    "time/update": 1.0,
    "tokens/generated": 500.0,
    "held_out/score": 0.125,
    "health/entropy_collapse": 0.0,
}
ROW: dict[str, Any] = {
    "reward": 1.0,
    "token": ["so", " 4\n", "\x1b[2J"],
    "entropy": [2.5, 0.1, 1.2],
    "selected": [True, False, False],
    "logp": [-1.0, -0.1, -0.5],
}


class FakeLog:
    """The part of a rollout log that is read."""

    def latest(self) -> dict[str, Any]:
        return ROW


def terminal(columns: int, act: Any) -> bytes:
    """What ``act(stream)`` writes to a terminal of so many columns, all of it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    received: list[bytes] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other end is closed, and Linux says so with EIO
                return
            if not chunk:
                return
            received.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with open(slave, "w") as stream:
        act(stream)
    reader.join()
    os.close(master)
    return b"".join(received)


def train(stream: Any, log: Any = None, during: Any = lambda: None) -> None:
    """Two steps of three."""
    callback = ProgressCallback("forks", log, stream)
    state = TrainerState(max_steps=3, is_world_process_zero=True)
    callback.on_train_begin(ARGUMENTS, state, TrainerControl())
    for step in (1, 2):
        state.global_step = step
        callback.on_step_end(ARGUMENTS, state, TrainerControl())
        logs = LOGS | {"reward": 0.25 * step, "health/truncation": float(step == 2)}
        callback.on_log(ARGUMENTS, state, TrainerControl(), logs)
        during()
    callback.close()


def screen(written: bytes, columns: int = 120) -> str:
    """What a terminal shows after it has received this."""
    display = pyte.Screen(columns, 40)
    pyte.ByteStream(display).feed(written)
    return "\n".join(line.rstrip() for line in display.display).strip()


@pytest.fixture(autouse=True)
def a_terminal_that_moves_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_shows_the_whole_run() -> None:
    lines = screen(terminal(120, lambda stream: train(stream, FakeLog()))).splitlines()
    assert lines[0].startswith("forks  step 2/3")
    assert lines[0].endswith("left")
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:7]}
    assert shown["reward"] == "0.500  ▁█  held_out 0.125"
    assert shown["entropy"] == "1.500  ▁▁  nats  dropped 0.125  kept 2.250"
    assert shown["length"] == "mean 27  longest 31  cut off 6.2%"
    assert shown["clipped"] == "low 1.00%  high 2.00%"
    assert re.fullmatch(
        r"[\d.]+ s/step  [\d,]+ generated tokens/s  rollout 75%  update 25%", shown["speed"]
    )
    assert shown["warnings"] == "truncation"
    assert "last completion, reward 1" in lines[7]
    # The escape sequence of the completion is text, not a command that clears the screen.
    assert lines[8:] == ["so 4⏎", "␛[2J"]


def test_the_cursor_comes_back_when_training_fails() -> None:
    def fail(stream: Any) -> None:
        callback = ProgressCallback("forks", None, stream)
        state = TrainerState(max_steps=3, is_world_process_zero=True)
        callback.on_train_begin(ARGUMENTS, state, TrainerControl())
        callback.close()

    written = terminal(120, fail)
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")


def test_what_is_printed_meanwhile_stands_above_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    state = TrainerState(max_steps=3, is_world_process_zero=True)
    state.log_history = [
        {"reward": 0.0, "frac_reward_zero_std": 1.0, "step": step} for step in range(1, 7)
    ]

    def act(stream: Any) -> None:
        monkeypatch.setattr(sys, "stderr", stream)
        health = HealthCallback()
        train(stream, during=lambda: health.on_log(ARGUMENTS, state, TrainerControl(), dict(LOGS)))
        monkeypatch.undo()

    shown = screen(terminal(120, act))
    assert shown.count("warning at step 0: equal rewards") == 1
    assert shown.index("equal rewards") < shown.index("forks  step 2/3")
    assert shown.count("forks  step") == 1


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_shows_lines(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert lines_on(columns=120)


def test_a_terminal_without_width_shows_lines() -> None:
    assert lines_on(columns=0)


def lines_on(columns: int) -> bool:
    lines = terminal(columns, train).decode().splitlines()
    assert len(lines) == 2
    return bool(
        re.fullmatch(
            r"step 2/3  reward 0\.500  entropy 1\.500  held-out 0\.125  [\d.]+ s/step  \d+:\d\d left",
            lines[1],
        )
    )


def test_logs_without_a_reward_are_not_progress(capsys: pytest.CaptureFixture[str]) -> None:
    callback = ProgressCallback("forks")
    state = TrainerState(max_steps=3, is_world_process_zero=True)
    callback.on_train_begin(ARGUMENTS, state, TrainerControl())
    callback.on_log(ARGUMENTS, state, TrainerControl(), {"train_runtime": 3.0})
    assert capsys.readouterr().err == ""


def test_generated_tokens_are_those_of_all_steps_between_two_log_lines() -> None:
    progress = Progress(total=10, logged_step=2)
    progress.add(5, {"tokens/generated": 100.0})
    progress.add(6, {"tokens/generated": 50.0})
    assert progress.generated == 350


@pytest.mark.parametrize(
    ("values", "blocks"), [([], ""), ([1.0], "▁"), ([0.0, 7.0, 3.0], "▁█▄"), ([float("nan")], "")]
)
def test_a_curve_spans_its_own_range(values: list[float], blocks: str) -> None:
    assert sparkline(values) == blocks


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (75.9, "1:15"), (3723.0, "1:02:03")])
def test_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_tokens_are_shaded_by_entropy_and_those_that_learn_are_underlined() -> None:
    text = shaded(ROW)
    assert [str(span.style) for span in text.spans] == ["bold red underline", "dim", "yellow"]


def test_a_long_completion_is_cut_and_says_so() -> None:
    row = {"token": ["a"] * 302, "entropy": [0.5] * 302, "selected": [False] * 302}
    assert shaded(row).plain == "a" * 300 + " … 2 more tokens"
