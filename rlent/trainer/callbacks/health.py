"""Warnings about a run's health, said once and written to the metrics."""

import sys
from typing import Any, TextIO

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlent.tracking.health import health_metrics, warnings


class HealthCallback(TrainerCallback):
    """Adds ``health/<rule>`` to the metrics of every step, and prints each warning when it first comes up.

    List it before callbacks that are to see these metrics. A resumed run does not repeat what it has been told.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._said: set[str] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._said = {warned.name for warned in warnings(state.log_history)}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "reward" not in logs:
            return
        warned = warnings(state.log_history)
        logs.update(health_metrics(warned))
        for each in warned:
            if each.name not in self._said and state.is_world_process_zero:
                # Standard error as it is now: a live view puts itself in its place.
                stream = sys.stderr if self._stream is None else self._stream
                print(f"warning at step {state.global_step}: {each}", file=stream, flush=True)
            self._said.add(each.name)
