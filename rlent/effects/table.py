"""The same tokens under several choices of what learns, beside one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlent.effects.batches import EFFECT

NOTHING = "n/a"
_KEPT = "recorded selection, selected here too"

Row = Mapping[str, Any]


@dataclass(kw_only=True, slots=True)
class Tally:
    """Sums over rows; ``shared`` counts the selected tokens that were selected in the recorded rows too."""

    tokens: int = 0
    selected: int = 0
    entropy_selected: float = 0.0
    entropy_others: float = 0.0
    weight: float = 0.0
    completions: int = 0
    learning: int = 0
    shared: int = 0
    recorded: int = 0
    effect: float | None = None

    def add(self, rows: Sequence[Row], recorded: Sequence[Row]) -> None:
        """Count some rows; ``recorded`` are the same completions as the run has written them."""
        for row, before in zip(rows, recorded, strict=True):
            chosen, was = np.asarray(row["selected"], bool), np.asarray(before["selected"], bool)
            entropy, weight = np.asarray(row["entropy"]), np.asarray(row["weight"])
            self.tokens += len(chosen)
            self.selected += int(chosen.sum())
            self.entropy_selected += float(entropy[chosen].sum())
            self.entropy_others += float(entropy[~chosen].sum())
            self.weight += float(weight[chosen].sum())
            self.completions += 1
            self.learning += bool((chosen & (np.asarray(row["advantage"]) != 0)).any())
            self.shared += int((chosen & was).sum())
            self.recorded += int(was.sum())
            if EFFECT in row:
                self.effect = (self.effect or 0.0) + float(np.sum(row[EFFECT]))


def tally_table(tallies: Mapping[str, Tally]) -> str:
    """A Markdown table with a column per choice."""
    cells = {name: _cells(tally) for name, tally in tallies.items()}
    rows = list(next(iter(cells.values())))
    if all(tally.recorded == tally.tokens for tally in tallies.values()):
        rows.remove(_KEPT)
    lines = [
        f"| | {' | '.join(cells)} |",
        "|---|" + "---:|" * len(cells),
        *(f"| {row} | {' | '.join(column[row] for column in cells.values())} |" for row in rows),
    ]
    return "\n".join(lines)


def _cells(tally: Tally) -> dict[str, str]:
    others = tally.tokens - tally.selected
    return {
        "tokens selected": _share(tally.selected, tally.tokens),
        "their mean entropy, nats": _mean(tally.entropy_selected, tally.selected),
        "mean entropy of the others, nats": _mean(tally.entropy_others, others),
        "their mean weight": _mean(tally.weight, tally.selected),
        "completions that something is learnt from": _share(tally.learning, tally.completions),
        _KEPT: _share(tally.shared, tally.recorded),
        "first-order change of entropy, nats per unit step": (
            NOTHING if tally.effect is None else f"{tally.effect / max(tally.tokens, 1):+.4g}"
        ),
    }


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else NOTHING


def _mean(total: float, count: int) -> str:
    return f"{total / count:.3f}" if count else NOTHING
