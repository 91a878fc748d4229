"""Measuring the model at chosen steps of training."""

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlent.trainer.trainer import EntropyGRPOTrainer


class AtSteps(TrainerCallback):
    """Asks ``measure`` before the first step and after each one, and logs what it gives."""

    def __init__(self) -> None:
        self.trainer: EntropyGRPOTrainer | None = None
        """Whose model is measured; set before training starts."""

    def measure(self, trainer: EntropyGRPOTrainer, state: TrainerState) -> dict[str, float]:
        """Metrics of the model as it is, the same names on every rank; none if nothing is due."""
        raise NotImplementedError

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        assert self.trainer is not None
        if state.global_step == 0:
            self.trainer.log(self.measure(self.trainer, state))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        assert self.trainer is not None
        if metrics := self.measure(self.trainer, state):
            self.trainer.record_metrics(metrics)
            control.should_log = True


def is_due(state: TrainerState, every: int) -> bool:
    """True before the first step, every ``every`` steps (0: never between), and after the last one."""
    step = state.global_step
    return step in (0, state.max_steps) or (every > 0 and step % every == 0)
