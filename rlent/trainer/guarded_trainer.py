"""A trainer that takes no step on a loss or gradient that is NaN or infinite."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer
from trl.trainer.grpo_trainer import GRPOTrainer

from rlent.errors import NonFiniteError
from rlent.interventions import Metrics
from rlent.reduce import Reduce
from rlent.sharding import guard_plain_step
from rlent.trainer.batches import Batch

FOLDER = "non_finite"
"""Where a run keeps the rollouts of such steps."""


class Guard(Trainer):
    """Mixed into a trainer: stops at an optimiser step that is not finite, or leaves it out (``args.non_finite``).

    The gradient norm is that of all ranks, and a loss is looked at on all ranks, so that they decide alike. The loss
    scaling of float16 makes infinite gradients on purpose and leaves them out itself: there only losses count.
    """

    reduce: Reduce
    skipped_steps: int
    """Optimiser steps left out since the run began."""
    _tokenizer: Any
    _losses: list[tuple[Batch, Tensor]]
    """Micro-batches of the current optimiser step and what the loss was on each."""

    # TRL annotates these more loosely than it fills them.
    args: Any
    model: Any

    def record_metrics(self, metrics: Metrics) -> None:
        raise NotImplementedError

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self._remember(inputs, loss)
        return loss

    def _remember(self, inputs: Any, loss: Tensor) -> None:
        """The loss of a micro-batch, to be looked at when the optimiser step is complete."""
        if self.model.training:
            self._losses.append((inputs, loss.detach()))

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        if self.deepspeed is not None:
            guard_plain_step(self.deepspeed)
        return super().training_step(model, inputs, num_items_in_batch)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        losses, self._losses = self._losses, []
        if not self._all_finite(norm, [loss for _, loss in losses]):
            self._refuse(model, norm, losses)
        return norm

    def _all_finite(self, norm: Any, losses: list[Tensor]) -> bool:
        bad = ~torch.stack(losses).isfinite().all()
        if norm is not None and not self.args.fp16:
            bad |= ~torch.as_tensor(norm, device=bad.device).isfinite()
        return not self.reduce.max(bad.float()).item()

    def _refuse(self, model: Any, norm: Any, losses: list[tuple[Batch, Tensor]]) -> None:
        path = self._save_for_inspection(norm, losses)
        if self.args.non_finite == "stop":
            raise NonFiniteError(
                step=self.state.global_step + 1,
                losses=[loss.item() for _, loss in losses],
                norm=None if norm is None else float(norm),
                path=path,
            )
        # DeepSpeed has already dropped the gradient; an optimiser passes over weights that have none.
        model.zero_grad()
        self.skipped_steps += 1
        self.record_metrics({"non_finite/skipped_steps": float(self.skipped_steps)})

    def _save_for_inspection(self, norm: Any, losses: list[tuple[Batch, Tensor]]) -> Path:
        """Write this rank's rollouts, or given answers, of the step."""
        folder = Path(self.args.output_dir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        rank, tokenizer = self.accelerator.process_index, self._tokenizer
        ids = "completion_ids" if "completion_ids" in losses[0][0] else "input_ids"
        path = folder / f"step-{self.state.global_step + 1}-rank-{rank}.pt"
        batches = [batch for batch, _ in losses]
        saved = {
            "step": self.state.global_step + 1,
            "grad_norm": norm,
            "losses": [loss.item() for _, loss in losses],
            "micro_batches": batches,
            "completions": [tokenizer.batch_decode(batch[ids]) for batch in batches],
        }
        torch.save(saved, path)
        return path


class GuardedTrainer(Guard, GRPOTrainer):
    """TRL's trainer for generated answers, guarded."""
