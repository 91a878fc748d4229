"""Folders of runs as the trainer writes them, of any size and with any text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rlent.report.runs import RunFiles
from rlent.report.trace import Trace, trace_of


def completion(
    tokens: Sequence[str],
    entropy: Sequence[float],
    *,
    step: int = 0,
    group: int = 0,
    reward: float = 0.0,
    selected: Sequence[bool] | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """A row as the log of rollouts writes it; ``columns`` replaces or adds some."""
    size = len(tokens)
    return {
        "step": step,
        "group": group,
        "prompt": "1 + 1 =",
        "completion": "".join(tokens),
        "reward": reward,
        "reward/right": reward,
        "truncated": False,
        "token": list(tokens),
        "token_id": list(range(size)),
        "logp": [-0.5] * size,
        "entropy": list(entropy),
        "selected": [True] * size if selected is None else list(selected),
        "advantage": [1.0] * size,
        "weight": [1.0] * size,
        **columns,
    }


def trace(rows: list[dict[str, Any]]) -> Trace:
    return trace_of(pa.Table.from_pylist(rows))


def write_run(
    folder: Path,
    rows: list[dict[str, Any]],
    metrics: list[dict[str, Any]] | None = None,
    recipe: str = "",
) -> Path:
    """A run's folder with one file of rollouts per step, none without rows."""
    folder.mkdir(parents=True)
    lines = [{"step": 1, "reward": 0.5}] if metrics is None else metrics
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if recipe:
        (folder / "recipe.yaml").write_text(recipe)
    for step in sorted({row["step"] for row in rows}):
        (folder / "rollouts").mkdir(exist_ok=True)
        table = pa.Table.from_pylist([row for row in rows if row["step"] == step])
        pq.write_table(table, folder / "rollouts" / f"step-{step:06d}.batch-000.rank-0.parquet")
    return folder


def files_of(folder: Path) -> RunFiles:
    return RunFiles(
        name=folder.name,
        metrics=folder / "metrics.jsonl",
        rollouts=folder / "rollouts",
        recipe=folder / "recipe.yaml",
    )


def write_large_run(folder: Path, *, steps: int, rows_per_step: int, length: int) -> Path:
    """A run of random tokens, written as arrays because Python's lists would take minutes."""
    rng = np.random.default_rng(0)
    (folder / "rollouts").mkdir(parents=True)
    lines = [{"step": step, "reward": step / steps, "entropy": 1.0} for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    vocabulary = pa.array([f" word{i}" for i in range(30_000)])
    for step in range(steps):
        table = _random_table(rng, vocabulary, step, rows_per_step, length)
        pq.write_table(table, folder / "rollouts" / f"step-{step:06d}.batch-000.rank-0.parquet")
    return folder


def _random_table(
    rng: np.random.Generator, vocabulary: pa.StringArray, step: int, rows: int, length: int
) -> pa.Table:
    sizes = rng.integers(length // 2, 3 * length // 2, rows)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    count = int(sizes.sum())
    ids = (rng.pareto(1.0, count) * 50).astype(np.int64) % len(vocabulary)
    entropy = rng.exponential(0.4, count)
    reward = rng.integers(0, 2, rows).astype(np.float64)
    per_token = {
        "token": vocabulary.take(pa.array(ids)),
        "token_id": pa.array(ids),
        "logp": pa.array(-rng.exponential(entropy + 0.01)),
        "entropy": pa.array(entropy),
        "selected": pa.array(entropy > 0.6),
        "advantage": pa.array(np.repeat(reward - 0.5, sizes)),
        "weight": pa.array(np.ones(count)),
    }
    group = np.arange(rows) // 8
    return pa.table(
        {
            "step": np.full(rows, step),
            "group": group,
            "prompt": [f"Prompt {step}.{number}: what is it?" for number in group],
            "completion": [""] * rows,
            "reward": reward,
            "reward/right": reward,
            "truncated": np.zeros(rows, dtype=bool),
            **{
                name: pa.ListArray.from_arrays(pa.array(starts), values)
                for name, values in per_token.items()
            },
        }
    )
