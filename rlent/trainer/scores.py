"""Scores of rejected tokens, computed once before training, and their way into the batches."""

from dataclasses import fields
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor
from trl.trainer.dpo_trainer import DataCollatorForPreference

from rlent.losses import ScoredLoss
from rlent.trainer.loss_trainer import labels_of, tokens_of
from rlent.trainer.teachers import fixed_head, load_teacher, transform_of

COLUMN = "rejected_scores"


class ScoreCollator(DataCollatorForPreference):
    """TRL's collator, which also puts the scores ``[b t-1]`` of rejected answers where their tokens are predicted."""

    @classmethod
    def like(cls, collator: Any) -> "ScoreCollator":
        """With the settings of TRL's own."""
        return cls(**{field.name: getattr(collator, field.name) for field in fields(collator)})

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        if COLUMN in examples[0]:
            mask = _rejected(batch["completion_mask"])[:, 1:].bool()
            scores = torch.tensor([score for example in examples for score in example[COLUMN]])
            batch[COLUMN] = torch.zeros(mask.shape).masked_scatter(mask, scores)
        return batch


def with_scores(trainer: Any, loss: ScoredLoss) -> Dataset:
    """The trainer's rows with the score of every rejected token; each rank computes those of some rows."""
    accelerator, rows = trainer.accelerator, trainer.train_dataset
    policy = trainer._transformers_model(trainer.model)
    models = {
        role: load_teacher(name, f"loss.{loss.name}.{role}", policy, accelerator.device)
        for role, name in loss.scorers.items()
    }
    own = range(accelerator.process_index, len(rows), accelerator.num_processes)
    size = trainer.args.per_device_train_batch_size
    scored: list[tuple[int, list[float]]] = []
    for start in range(0, len(own), size):
        places = own[start : start + size]
        batch = _rejected_rows(trainer.data_collator([rows[i] for i in places]))
        batch = {name: values.to(accelerator.device) for name, values in batch.items()}
        with accelerator.autocast():
            scores = _scores(loss, models, batch, transform_of(policy))
        targets = labels_of(batch, batch["completion_mask"])[:, 1:]
        if loss.leaves_end_out:
            scores = scores.masked_fill(targets == trainer.processing_class.eos_token_id, 0.0)
        for place, row, mask in zip(places, scores, targets >= 0, strict=True):
            scored.append((place, row[mask].tolist()))
    everything = dict(gather_object(scored))
    return rows.add_column(COLUMN, [everything[i] for i in range(len(rows))])


def _scores(
    loss: ScoredLoss, models: dict[str, Any], batch: dict[str, Tensor], transform: Any
) -> Tensor:
    tokens = tokens_of(batch)
    fixed = {role: fixed_head(model, model, tokens) for role, model in models.items()}
    return loss.score(fixed, labels_of(batch, batch["completion_mask"])[:, 1:], transform)


def _rejected(values: Tensor) -> Tensor:
    """The second half of a batch of preferred and rejected answers."""
    return values.chunk(2)[1]


def _rejected_rows(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "completion_mask")
    return {name: _rejected(batch[name]) for name in names}
