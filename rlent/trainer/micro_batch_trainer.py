"""TRL's trainer with micro-batches by length, in parts, and without idle rollouts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from rlent.errors import ConfigError
from rlent.interventions.stages import Mean
from rlent.trainer.batches import Batch, has_images
from rlent.trainer.guarded_trainer import GuardedTrainer
from rlent.trainer.micro_batches import (
    arrange,
    nobody,
    padded_tokens,
    parts_by_tokens,
    rows_of,
    trimmed,
)
from rlent.trainer.phases import PhaseClock


class MicroBatchTrainer(GuardedTrainer):
    """TRL's trainer, whose micro-batches are rearranged after TRL has split a generation batch."""

    _parts: list[Batch]
    """Parts of a micro-batch that are still to be run."""
    _clock: PhaseClock
    _generated: float
    """Tokens that all ranks have generated since the last optimiser step."""

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    def _prepare_inputs(self, generation_batch: Any) -> Batch:
        """The next micro-batch: TRL's, or as many parts of it as ``tokens_per_micro_batch`` asks for, one by one."""
        if self._parts:
            return self._parts.pop(0)
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        buffered = self._buffered_inputs
        if (
            self._mode == "eval"
            or buffered is before
            or buffered is None
            or not self._arranges(inputs)
        ):
            return inputs
        size = min(self.args.gradient_accumulation_steps, len(buffered))
        arranged: list[Batch] = []
        for first in range(0, len(buffered), size):
            step = arrange(buffered[first : first + size], by_length=self.args.sort_by_length)
            self._account_for(step.left_out)
            arranged += step.batches
        before, after = (sum(map(padded_tokens, batches)) for batches in (buffered, arranged))
        self.record_metrics({"saved/padded_tokens": Mean(before - after, before)})
        self._buffered_inputs = arranged
        return arranged[self._step % self.args.steps_per_generation]

    def _arranges(self, inputs: Batch) -> bool:
        asked = self.args.sort_by_length or "idle" in inputs
        return asked and not has_images(inputs) and not self.args.averages_micro_batches

    def _account_for(self, left_out: Batch) -> None:
        """Put rollouts that are not run into the metrics and the log, with the numbers of the generating policy."""
        raise NotImplementedError

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """TRL's, with the time and the tokens of every optimiser step in the metrics."""
        with self._clock.phase("update"):
            loss = self._step_in_parts(model, inputs, num_items_in_batch)
        if self._step % self.current_gradient_accumulation_steps == 0:
            phases = {f"time/{name}": seconds for name, seconds in self._clock.take().items()}
            self.record_metrics({**phases, "tokens/generated": self._generated})
            self._generated = 0.0
        return loss

    def _step_in_parts(self, model: Any, inputs: Any, num_items_in_batch: Any) -> Tensor:
        """TRL's, on a micro-batch in parts: all but the last only add to the gradients."""
        tokens = self.args.tokens_per_micro_batch
        total = torch.zeros((), device=self.accelerator.device)
        if tokens is not None:
            model.train()
            self._parts = self._split(self._prepare_inputs(inputs), tokens)
            start = time.perf_counter()
            while len(self._parts) > 1:
                with self._adding(model):
                    total += Trainer.training_step(self, model, inputs, num_items_in_batch)
            self._current_train_step_time += time.perf_counter() - start
        return total + super().training_step(model, inputs, num_items_in_batch)

    def _split(self, micro_batch: Batch, tokens: int) -> list[Batch]:
        """As many parts on every rank."""
        if has_images(micro_batch):
            raise ConfigError(
                "a micro-batch with images cannot be run in parts",
                key="trainer.tokens_per_micro_batch",
                remedy="leave it out, and set trainer.per_device_train_batch_size to what the memory holds",
            )
        parts = [
            trimmed(rows_of(micro_batch, rows)) for rows in parts_by_tokens(micro_batch, tokens)
        ]
        wanted = int(self.reduce.max(torch.tensor(len(parts), device=self.accelerator.device)))
        return parts + [nobody(micro_batch)] * (wanted - len(parts))

    @contextmanager
    def _adding(self, model: Any) -> Iterator[None]:
        """Inside, a backward pass is neither reduced over ranks nor followed by an optimiser step."""
        state = self.accelerator.gradient_state
        last = state.sync_gradients
        state._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(last)
