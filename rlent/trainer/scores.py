"""Scores of rejected tokens, computed once before training, and their way into the batches."""

import gc
from dataclasses import fields
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor
from trl.trainer.dpo_trainer import DataCollatorForPreference

from rlent.losses import ScoredLoss
from rlent.trainer.loss_trainer import labels_of, tokens_of
from rlent.trainer.teachers import fixed_head, forget_teacher, load_teacher, transform_of

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
    rows = trainer.train_dataset
    everything = dict(gather_object(_own_scores(trainer, loss)))
    # Models hold themselves in cycles, and their memory is wanted now.
    gc.collect()
    return rows.add_column(COLUMN, [everything[i] for i in range(len(rows))])


def _own_scores(trainer: Any, loss: ScoredLoss) -> list[tuple[int, list[float]]]:
    """Place of each row that this rank scores, and its scores."""
    accelerator, rows = trainer.accelerator, trainer.train_dataset
    policy = trainer._transformers_model(trainer.model)
    models = {
        role: load_teacher(name, f"loss.{loss.name}.{role}", policy, accelerator)
        for role, name in loss.scorers.items()
    }
    own = _own_places(accelerator.process_index, accelerator.num_processes, len(rows))
    size = trainer.args.per_device_train_batch_size
    scored = []
    for start in range(0, len(own), size):
        places = own[start : start + size]
        batch = _rejected_rows(trainer.data_collator([rows[i] for i in places]))
        batch = {name: values.to(accelerator.device) for name, values in batch.items()}
        with accelerator.autocast():
            scores = _scores(trainer, loss, models, batch)
        targets = labels_of(batch, batch["completion_mask"])[:, 1:]
        if loss.leaves_end_out:
            scores = scores.masked_fill(targets == trainer.processing_class.eos_token_id, 0.0)
        for place, row, mask in zip(places, scores, targets >= 0, strict=True):
            scored.append((place, row[mask].tolist()))
    for model in models.values():
        forget_teacher(model, accelerator)
    return scored


def _own_places(rank: int, ranks: int, rows: int) -> list[int]:
    """The rows that a rank scores, as many on every rank: models in parts are put together by all ranks at once.

    Where the rows do not go up, some ranks score one of the first again.
    """
    return [place % rows for place in range(rank, -(-rows // ranks) * ranks, ranks)]


def _scores(
    trainer: Any, loss: ScoredLoss, models: dict[str, Any], batch: dict[str, Tensor]
) -> Tensor:
    tokens = tokens_of(batch)
    fixed = {
        role: fixed_head(model, trainer._transformers_model(model), tokens)
        for role, model in models.items()
    }
    transform = transform_of(trainer._transformers_model(trainer.model))
    return loss.score(fixed, labels_of(batch, batch["completion_mask"])[:, 1:], transform)


def _rejected(values: Tensor) -> Tensor:
    """The second half of a batch of preferred and rejected answers."""
    return values.chunk(2)[1]


def _rejected_rows(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "completion_mask")
    return {name: _rejected(batch[name]) for name in names}
