"""The progress of a run: a live view on a terminal, one plain line per logged step elsewhere."""

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlent.tracking.live_view import Progress, clock, live_view
from rlent.tracking.rollouts import RolloutLog

IN_A_LINE = {"reward": "reward", "entropy": "entropy", "held_out/score": "held-out"}
"""Metric -> the word it is shown under in plain lines."""


class ProgressCallback(TrainerCallback):
    """Shows how a run goes; close it when training ends, however that is.

    Args:
        name: of the run.
        log: where the last completion is taken from, or None.
        shown: metric -> its word in plain lines, of which there is one per log line with the first metric.
        stream: standard error by default.
    """

    def __init__(
        self,
        name: str,
        log: RolloutLog | None = None,
        stream: TextIO | None = None,
        shown: Mapping[str, str] = IN_A_LINE,
    ) -> None:
        self._name = name
        self._log = log
        self._shown = shown
        self._stream = sys.stderr if stream is None else stream
        self._progress = Progress(total=0)
        self._last: dict[str, Any] | None = None
        self._live: Live | None = None
        # The view is drawn by a thread, and by whoever prints, a signal handler included.
        self._lock = threading.RLock()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        step = state.global_step
        self._progress = Progress(total=state.max_steps, step=step, first=step, logged_step=step)
        if state.is_world_process_zero and can_be_drawn_on(self._stream):
            self._live = Live(
                get_renderable=self._view,
                console=Console(file=self._stream),
                refresh_per_second=2,
                vertical_overflow="ellipsis",
            )
            self._live.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._progress.step = state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs:
            return
        with self._lock:
            self._progress.step = state.global_step
            self._progress.add(state.global_step, logs)
            self._last = None if self._log is None else self._log.latest()
        if self._live is None and state.is_world_process_zero and next(iter(self._shown)) in logs:
            print(line(self._progress, self._shown), file=self._stream, flush=True)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last view on the terminal, and the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self) -> RenderableType:
        with self._lock:
            return live_view(self._name, self._progress, self._last)


def line(progress: Progress, shown: Mapping[str, str] = IN_A_LINE) -> str:
    """A log line as plain text."""
    numbers = [
        f"{word} {progress.logs[name]:.3f}" for name, word in shown.items() if name in progress.logs
    ]
    return "  ".join(
        [
            f"step {progress.step}/{progress.total}",
            *numbers,
            f"{progress.seconds_per_step:.1f} s/step",
            f"{clock(progress.left)} left",
        ]
    )


def can_be_drawn_on(stream: TextIO) -> bool:
    """A terminal that can move its cursor and has a width; a detached one has none."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    return os.get_terminal_size(stream.fileno()).columns > 0
