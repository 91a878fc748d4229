"""Every rollout, token by token, as Parquet: one file per generation batch and rank.

A row is a completion. Its lists have one entry per completion token: ``token`` (text), ``token_id``, ``logp`` and
``entropy`` (nats) of the policy in its first update on the rollout, ``selected``, ``advantage`` and ``weight`` as the
surrogate saw them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from rlent.types import Rollouts, Signal, Tokens

PER_TOKEN = ("token", "token_id", "logp", "entropy", "selected", "advantage", "weight")


@runtime_checkable
class Decoder(Protocol):
    """The part of a tokenizer that the log uses."""

    def decode(self, token_ids: Any, skip_special_tokens: bool = ...) -> str: ...


class RolloutLog:
    """Collects a generation batch while it is trained on, and writes it when the next one starts.

    Args:
        folder: created when the first batch is written.
        reward_names: names of the columns of ``Rollouts.reward_parts``.
    """

    def __init__(
        self, folder: Path, tokenizer: Decoder, reward_names: Sequence[str], rank: int = 0
    ) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._reward_names = tuple(reward_names)
        self._rank = rank
        self._rows: dict[int, dict[str, Any]] = {}
        self._step = -1
        self._batch = 0

    def start(self, rollouts: Rollouts) -> None:
        """Begin a generation batch; writes the one before."""
        self.flush()
        # An optimiser step may use several generation batches; each has its own file.
        self._batch = self._batch + 1 if rollouts.step == self._step else 0
        self._step = rollouts.step
        self._rows = {row: self._describe(rollouts, row) for row in range(len(rollouts.mask))}

    def record(self, rows: Tensor, tokens: Tokens, signal: Signal) -> None:
        """Add what the first update on these rows saw; later updates on the same rows change nothing."""
        fresh = [(i, row) for i, row in enumerate(rows.tolist()) if "logp" not in self._rows[row]]
        if not fresh:
            return
        mask, columns = tokens.mask.cpu(), _columns(tokens, signal)
        for i, row in fresh:
            self._rows[row] |= {name: v[i][mask[i]].tolist() for name, v in columns.items()}

    def flush(self) -> None:
        """Write the rows that have been trained on, under a temporary name until the file is whole."""
        rows = [row for row in self._rows.values() if "logp" in row]
        self._rows = {}
        if not rows:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = (
            self._folder
            / f"step-{self._step:06d}.batch-{self._batch:03d}.rank-{self._rank}.parquet"
        )
        unfinished = path.with_suffix(".unfinished")
        pq.write_table(pa.Table.from_pylist(rows), unfinished, compression="zstd")
        unfinished.rename(path)

    def _describe(self, rollouts: Rollouts, row: int) -> dict[str, Any]:
        mask = rollouts.mask[row]
        ids = rollouts.completion_ids[row][mask].tolist()
        parts = rollouts.reward_parts[row].tolist()
        return {
            "step": rollouts.step,
            "group": int(rollouts.group[row]),
            "prompt": self._tokenizer.decode(rollouts.prompt_ids[row], skip_special_tokens=True),
            "completion": self._tokenizer.decode(ids, skip_special_tokens=True),
            "reward": float(rollouts.reward[row]),
            **{
                f"reward/{name}": part for name, part in zip(self._reward_names, parts, strict=True)
            },
            "truncated": bool(rollouts.truncated[row]),
            "token": [self._tokenizer.decode([token]) for token in ids],
            "token_id": ids,
        }


def _columns(tokens: Tokens, signal: Signal) -> dict[str, Tensor]:
    """What is recorded of every token, brought off the device in one copy each."""
    columns = {
        "logp": tokens.logp,
        "entropy": tokens.entropy,
        "selected": signal.select,
        "advantage": signal.advantage,
        "weight": signal.weight,
    }
    return {name: values.detach().cpu() for name, values in columns.items()}


def read_rollouts(folder: Path) -> list[dict[str, Any]]:
    """All rows of a run's rollout files, in the order of steps and ranks."""
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
