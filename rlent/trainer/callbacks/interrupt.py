"""Ctrl-C and SIGTERM: finish the step, write a checkpoint, stop. A second Ctrl-C stops at once."""

import signal
import sys
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlent.reduce import distributed

SAID = {
    signal.SIGINT: "Interrupted: finishing this step and writing a checkpoint. "
    "Ctrl-C again stops at once, without one.",
    signal.SIGTERM: "Asked to end (SIGTERM): finishing this step and writing a checkpoint.",
}


class InterruptCallback(TrainerCallback):
    """Turns the first SIGINT or SIGTERM into a checkpoint after the step that is being taken.

    A signal may reach the ranks in different steps, or one rank alone: after every step they agree whether to stop.
    """

    def __init__(self) -> None:
        self.stopped_by: signal.Signals | None = None
        """The signal that ended training, once all ranks have agreed on it."""
        self._received = 0
        self._speaks = True
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._speaks = state.is_world_process_zero
        self._previous = {number: signal.signal(number, self._remember) for number in SAID}

    def on_train_end(self, *_: Any, **__: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        number = int(distributed().max(torch.tensor(self._received, device=args.device)))
        if number:
            self.stopped_by = signal.Signals(number)
            control.should_save = True
            control.should_training_stop = True

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT:
            signal.signal(number, self._previous[signal.SIGINT])
            raise KeyboardInterrupt
        self._received = number
        if self._speaks:
            print(f"\n{SAID[signal.Signals(number)]}", file=sys.stderr, flush=True)
