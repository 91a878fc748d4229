"""Writes every logged step to ``metrics.jsonl``, under TRL's names."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlent.tracking import MetricsFile


class MetricsCallback(TrainerCallback):
    """One line per log call of the main process."""

    def __init__(self, file: MetricsFile) -> None:
        self._file = file

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            self._file.forget_after(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if state.is_world_process_zero and logs:
            self._file.write(state.global_step, logs)
