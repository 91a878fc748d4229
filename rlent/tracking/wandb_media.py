"""What Weights & Biases is told beyond numbers: groups of metrics, distributions of entropy, marked completions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

BINS = 64
FORKING_SHARE = 0.2
"""Tokens that are marked where a run selects all of them: those of highest entropy."""
MARKS = ("⟦", "⟧")
TABLE_COLUMNS = (
    "step",
    "prompt",
    "completion",
    "reward",
    "mean entropy",
    "tokens",
    "selected tokens",
    "cut off",
)

Row = Mapping[str, Any]
"""A completion as ``rlent.tracking.rollouts`` writes it."""


def grouped(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The same metrics, each in a group: what is before the first slash of its name, ``train`` where it has none."""
    return {name if "/" in name else f"train/{name}": value for name, value in metrics.items()}


def entropy_histograms(
    rows: Sequence[Row],
) -> dict[str, tuple[Int[ndarray, " b"], Float[ndarray, " b1"]]]:
    """Counts and edges (nats) of the entropies of all, of selected, and of dropped tokens; no entry without tokens."""
    entropy = _flat(rows, "entropy").astype(float)
    selected = _flat(rows, "selected").astype(bool)
    edges = np.linspace(0.0, max(float(entropy.max(initial=0.0)), 1e-6), BINS + 1)
    kinds = {"all": entropy, "selected": entropy[selected], "dropped": entropy[~selected]}
    return {
        f"rollouts/entropy_{kind}": (np.histogram(values, edges)[0], edges)
        for kind, values in kinds.items()
        if len(values)
    }


def completion_rows(rows: Sequence[Row], most: int) -> list[list[Any]]:
    """The first ``most`` completions as rows of a table with ``TABLE_COLUMNS``."""
    return [
        [
            row["step"],
            row["prompt"],
            _marked(row["token"], marks),
            row["reward"],
            float(np.mean(row["entropy"])) if row["entropy"] else 0.0,
            len(row["token"]),
            sum(row["selected"]),
            row["truncated"],
        ]
        for row, marks in zip(rows[:most], forking_marks(rows)[:most], strict=True)
    ]


def forking_marks(rows: Sequence[Row]) -> list[Bool[ndarray, " t"]]:
    """The tokens that the run has selected; where that is all of them, the fifth with the highest entropy."""
    selected = [np.asarray(row["selected"], dtype=bool) for row in rows]
    if not all(each.all() for each in selected):
        return selected
    entropy = np.sort(_flat(rows, "entropy").astype(float))
    if not len(entropy):
        return selected
    threshold = entropy[-max(1, int(FORKING_SHARE * len(entropy)))]
    return [np.asarray(row["entropy"], dtype=float) >= threshold for row in rows]


def _marked(tokens: Sequence[str], marks: Bool[ndarray, " t"]) -> str:
    """The text with each marked token in brackets; neighbours share theirs."""
    opening, closing = MARKS
    text = "".join(
        f"{opening}{token}{closing}" if marked else token
        for token, marked in zip(tokens, marks, strict=True)
    )
    return text.replace(closing + opening, "")


def _flat(rows: Sequence[Row], column: str) -> ndarray:
    return np.asarray([value for row in rows for value in row[column]])
