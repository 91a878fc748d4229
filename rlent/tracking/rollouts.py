"""Every rollout, token by token, as Parquet: one file per generation batch and rank.

A row is a completion. Its lists have one entry per completion token: ``token`` (text), ``token_id``, ``logp`` and
``entropy`` (nats) of the policy in its first update on the rollout, ``selected``, ``advantage`` and ``weight`` as the
surrogate saw them. Where the log was given a surrogate that clips, ``clipped`` says that the token was clipped in some
update on the rollout, and ``preserved`` that a share of its gradient was kept then.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from rlent.surrogates import Sides, Surrogate
from rlent.types import Rollouts, Signal, Tokens

PART = "reward/"
"""Prefix of the columns that hold one reward function's part each."""
PER_TOKEN = ("token", "token_id", "logp", "entropy", "selected", "advantage", "weight")


@runtime_checkable
class Decoder(Protocol):
    """The part of a tokenizer that the log uses."""

    def decode(self, token_ids: Any, skip_special_tokens: bool = ...) -> str: ...


class RolloutLog:
    """Collects a generation batch while it is trained on, and writes it when the next one starts.

    Args:
        folder: created when the first batch is written.
        reward_names: names of the columns of ``Rollouts.reward_parts``; none where an intervention makes the reward.
        surrogate: the one that is trained with; without one, or where it does not clip, there are no columns about it.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Decoder,
        reward_names: Sequence[str],
        rank: int = 0,
        *,
        surrogate: Surrogate | None = None,
    ) -> None:
        self.folder = folder
        self._tokenizer = tokenizer
        self._reward_names = tuple(reward_names)
        self._rank = rank
        self._surrogate = surrogate
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
        """Add what the first update on these rows saw; of later updates only what they clipped."""
        fresh = [(i, row) for i, row in enumerate(rows.tolist()) if "logp" not in self._rows[row]]
        mask = tokens.mask.cpu()
        if fresh:
            columns = _columns(tokens, signal)
            for i, row in fresh:
                self._rows[row] |= {name: v[i][mask[i]].tolist() for name, v in columns.items()}
        sides = None if self._surrogate is None else self._surrogate.clipped(tokens, signal)
        if sides is not None:
            self._add_clipping(rows, mask, _clipping(signal, sides))

    def _add_clipping(self, rows: Tensor, mask: Tensor, clipping: dict[str, Tensor]) -> None:
        for i, row in enumerate(rows.tolist()):
            for name, values in clipping.items():
                now = values[i][mask[i]].tolist()
                before = self._rows[row].get(name, now)
                self._rows[row][name] = [a or b for a, b in zip(before, now, strict=True)]

    def latest(self) -> dict[str, Any] | None:
        """The last row that has been trained on and is not written yet."""
        return next((row for row in reversed(self._rows.values()) if "logp" in row), None)

    def flush(self) -> None:
        """Write the rows that have been trained on, under a temporary name until the file is whole."""
        rows = [row for row in self._rows.values() if "logp" in row]
        self._rows = {}
        if not rows:
            return
        write_batch(self.folder, rows, self._batch, self._rank)

    def state_dict(self) -> dict[str, Any]:
        """The generation batch that is not written yet."""
        return {"rows": self._rows, "step": self._step, "batch": self._batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows, self._step, self._batch = state["rows"], state["step"], state["batch"]

    def _describe(self, rollouts: Rollouts, row: int) -> dict[str, Any]:
        mask = rollouts.mask[row]
        ids = rollouts.completion_ids[row][mask].tolist()
        parts = rollouts.reward_parts[row].tolist() if self._reward_names else []
        return {
            "step": rollouts.step,
            "group": int(rollouts.group[row]),
            "prompt": self._tokenizer.decode(rollouts.prompt_ids[row], skip_special_tokens=True),
            "completion": self._tokenizer.decode(ids, skip_special_tokens=True),
            "reward": float(rollouts.reward[row]),
            **{f"{PART}{name}": part for name, part in zip(self._reward_names, parts, strict=True)},
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


def _clipping(signal: Signal, sides: Sides) -> dict[str, Tensor]:
    below, above = sides
    preserved = (below & (signal.keep_low > 0)) | (above & (signal.keep_high > 0))
    return {"clipped": (below | above).cpu(), "preserved": preserved.cpu()}


def write_batch(
    folder: Path, rows: Sequence[dict[str, Any]], batch: int = 0, rank: int = 0
) -> None:
    """Write rows of one step, under a temporary name until the file is whole.

    Args:
        batch: number of the generation batch among those of the step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{rows[0]['step']:06d}.batch-{batch:03d}.rank-{rank}.parquet"
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(pa.Table.from_pylist(list(rows)), unfinished, compression="zstd")
    unfinished.rename(path)


def read_batches(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of every generation batch, of all ranks, in the order of steps."""
    for _, files in groupby(sorted(folder.glob("*.parquet")), _batch_name):
        yield [row for path in files for row in pq.read_table(path).to_pylist()]


def _batch_name(path: Path) -> str:
    return path.name.partition(".rank-")[0]


def read_tables(folder: Path) -> Iterator[pa.Table]:
    """A run's rollout files, in the order of steps and ranks."""
    return (pq.read_table(path) for path in sorted(folder.glob("*.parquet")))


def read_rollouts(folder: Path) -> list[dict[str, Any]]:
    """All rows of a run's rollout files, in the order of steps and ranks."""
    return [row for table in read_tables(folder) for row in table.to_pylist()]
