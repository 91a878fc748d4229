"""Rows as ``rlent.tracking.rollouts`` writes them, and the records that interventions read."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.effects.apply import Effect
from rlent.numerics import fill
from rlent.tracking.rollouts import PART
from rlent.types import Rollouts

EFFECT = "entropy_effect"
"""Column: first-order change of the entropy at a token, nats per unit of step size."""
_GONE = ("clipped", "preserved")
"""Columns about later updates, which there are none of here."""

Row = Mapping[str, Any]


def batch_of(rows: Sequence[Row], weights: Mapping[str, float]) -> Rollouts:
    """The rollouts of one generation batch. Log-probability and entropy are those of the first update on each.

    Args:
        rows: of all ranks.
        weights: of the reward functions, by name. A run without any has rewards of 0 that an intervention replaces.
    """
    ids = padded(rows, "token_id", 0)
    mask = torch.arange(ids.size(1)) < torch.tensor([[len(row["token_id"])] for row in rows])
    names = tuple(weights) or ("unlabelled",)
    parts = torch.tensor([[_part(row, name) for name in names] for row in rows])
    factors = torch.tensor([weights.get(name, 1.0) for name in names])
    scorable = ~parts.isnan().all(dim=1)
    return Rollouts(
        prompt_ids=torch.zeros(len(rows), 1, dtype=torch.long),
        completion_ids=ids,
        mask=mask,
        group=torch.tensor([row["group"] for row in rows]),
        old_logp=padded(rows, "logp", 0.0),
        old_entropy=padded(rows, "entropy", 0.0),
        ref_logp=None,
        texts=tuple(row["completion"] for row in rows),
        reward_parts=parts,
        reward_names=names,
        reward=torch.where(scorable, (parts * factors).nansum(dim=1), torch.nan),
        truncated=torch.tensor([row["truncated"] for row in rows]),
        answers=None,
        step=rows[0]["step"],
    )


def _part(row: Row, name: str) -> float:
    """A reward function's part; NaN, in which a file may write null, where it does not apply."""
    value = row.get(f"{PART}{name}", 0.0)
    return float("nan") if value is None else float(value)


def padded(rows: Sequence[Row], column: str, nothing: int | float) -> Tensor:
    """[n t]: a column of lists, filled up behind their ends."""
    width = max(max(len(row["token_id"]) for row in rows), 1)
    return torch.tensor([[*row[column], *[nothing] * (width - len(row[column]))] for row in rows])


def changed_rows(
    rows: Sequence[Row], effect: Effect, entropy_effect: Float[Tensor, "n t"]
) -> list[dict[str, Any]]:
    """The rows as a run with this effect would have written them."""
    signal, mask = effect.signal, effect.rollouts.mask
    columns = {
        "selected": signal.select & mask,
        "advantage": fill(signal.advantage, mask),
        "weight": fill(signal.weight, mask),
        EFFECT: entropy_effect,
    }
    return [
        {
            **{name: value for name, value in row.items() if name not in _GONE},
            "reward": float(effect.rollouts.reward[i]),
            **{
                name: values[i, : len(row["token_id"])].tolist() for name, values in columns.items()
            },
        }
        for i, row in enumerate(rows)
    ]
