"""The progress of a run: a bar on a terminal, one plain line per logged step elsewhere."""

import os
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SHOWN = {"reward": "reward", "entropy": "entropy", "held_out/score": "held-out"}
"""Metric -> the word it is shown under."""


class ProgressCallback(TrainerCallback):
    """Shows step, reward, entropy (nats), the last held-out score, and the time left."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar: tqdm | None = None
        self._shown: dict[str, str] = {}
        self._started = 0.0
        self._first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._started, self._first = time.monotonic(), state.global_step
        if state.is_world_process_zero and _has_columns(self._stream):
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="training",
                unit="step",
                dynamic_ncols=True,
                file=self._stream,
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        for name, word in SHOWN.items():
            if logs and isinstance(logs.get(name), float):
                self._shown[word] = f"{logs[name]:.3f}"
        if self._bar is not None:
            self._bar.set_postfix(self._shown)
        elif state.is_world_process_zero and logs and "reward" in logs:
            self._print_line(state)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print_line(self, state: TrainerState) -> None:
        done = state.global_step - self._first
        seconds = (time.monotonic() - self._started) / max(done, 1)
        left = int(seconds * (state.max_steps - state.global_step))
        numbers = "  ".join(f"{word} {number}" for word, number in self._shown.items())
        print(
            f"step {state.global_step}/{state.max_steps}  {numbers}  {seconds:.1f} s/step  "
            f"{left // 60}:{left % 60:02d} left",
            file=self._stream,
            flush=True,
        )


def _has_columns(stream: TextIO) -> bool:
    """A terminal that a bar can be drawn on; a detached one has no width, and a bar would be empty."""
    return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
