"""Micro-batches by length: rollouts of like length together, each trimmed to its own longest.

TRL pads every micro-batch to the longest prompt and the longest completion of the whole generation batch. Which rows of
an optimiser step share a micro-batch does not change the step's gradient, except where a loss averages over the tokens
of a micro-batch (``bnpo``).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlent.trainer.batches import Batch

PROMPT = ("prompt_ids", "prompt_mask")
"""Entries [n p] that are padded on the left; all others [n t] lie along the completion."""


def lengths(batch: Batch) -> Tensor:
    """Tokens of prompt and completion of each row [n]."""
    return batch["prompt_mask"].sum(1) + batch["completion_mask"].sum(1)


def padded_tokens(batch: Batch) -> int:
    """Tokens of a forward pass over the batch, padding included."""
    return batch["prompt_ids"].numel() + batch["completion_ids"].numel()


def trimmed(batch: Batch) -> Batch:
    """Without the columns that are padding in every row; at least one column is left of each."""
    width = batch["completion_ids"].size(1)
    end = _width(batch["completion_mask"])
    start = batch["prompt_mask"].size(1) - _width(batch["prompt_mask"].flip(1))

    def cut(name: str, values: Tensor) -> Tensor:
        if name in PROMPT:
            return values[:, start:]
        return values[:, :end] if values.dim() == 2 and values.size(1) == width else values

    return {
        name: cut(name, values) if isinstance(values, Tensor) else values
        for name, values in batch.items()
    }


def _width(mask: Tensor) -> int:
    """Columns up to the last that any row has a token in, at least 1."""
    columns = mask.any(0).nonzero()
    return int(columns[-1]) + 1 if len(columns) else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Arranged:
    """The micro-batches of an optimiser step, and the rollouts that none of them holds."""

    batches: list[Batch]
    left_out: Batch


def arrange(step: list[Batch], *, by_length: bool) -> Arranged:
    """The micro-batches of an optimiser step again, as many, without idle rows, each trimmed.

    Rows where the entry ``idle`` [n] holds are left out, but for those that make up for missing ones: every micro-batch
    has a row. ``by_length`` sorts the rows, long ones first, so that a run that lacks memory fails at once.
    """
    merged = _joined(step)
    idle = merged.get("idle", torch.zeros_like(merged["row"], dtype=torch.bool))
    rows = torch.cat([(~idle).nonzero(), idle.nonzero()]).flatten()
    count = max(int((~idle).sum()), len(step))
    run, left_out = rows[:count].sort().values, rows[count:]
    if by_length:
        run = run[lengths(merged)[run].argsort(descending=True, stable=True)]
    return Arranged(
        batches=[trimmed(rows_of(merged, part)) for part in run.tensor_split(len(step))],
        left_out=rows_of(merged, left_out),
    )


def parts_by_tokens(batch: Batch, tokens: int) -> list[Tensor]:
    """Rows of the parts of a batch: long ones first, no part above ``tokens`` once padded, unless it is one row."""
    sizes = lengths(batch)
    order = sizes.argsort(descending=True, stable=True)
    parts: list[list[int]] = []
    for row in order.tolist():
        if not parts or (len(parts[-1]) + 1) * int(sizes[parts[-1][0]]) > tokens:
            parts.append([])
        parts[-1].append(row)
    return [torch.tensor(rows, device=sizes.device) for rows in parts]


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch; entries that are not per row stay as they are."""
    count = len(batch["completion_ids"])
    return {
        name: values[rows.to(values.device)]
        if isinstance(values, Tensor) and values.dim() and len(values) == count
        else values
        for name, values in batch.items()
    }


def nobody(batch: Batch) -> Batch:
    """The shortest row of a batch with nothing to learn from it: what a rank runs that has no part left."""
    row = rows_of(batch, lengths(batch).argmin()[None])
    return trimmed(row) | {"kept": torch.zeros(1, dtype=torch.bool, device=row["row"].device)}


def _joined(batches: list[Batch]) -> Batch:
    first = batches[0]
    return {
        name: torch.cat([batch[name] for batch in batches])
        if isinstance(values, Tensor) and values.dim()
        else values
        for name, values in first.items()
    }
