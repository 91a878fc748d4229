"""Ctrl-C: finish the step, write a checkpoint, stop. A second Ctrl-C stops at once."""

import signal
import sys
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class InterruptCallback(TrainerCallback):
    """Turns the first SIGINT into a checkpoint at the next step that can be resumed from.

    Args:
        every: a checkpoint fits after every ``every`` optimiser steps, where no generation batch is left half used.
    """

    def __init__(self, every: int = 1) -> None:
        self.interrupted = False
        self._every = every
        self._previous: Any = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._previous = signal.signal(signal.SIGINT, self._remember)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.interrupted and state.global_step % self._every == 0:
            control.should_save = True
            control.should_training_stop = True

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            signal.signal(signal.SIGINT, self._previous)
            raise KeyboardInterrupt
        self.interrupted = True
        print(
            "\nInterrupted: finishing this step and writing a checkpoint. Ctrl-C again stops at once, without one.",
            file=sys.stderr,
            flush=True,
        )
