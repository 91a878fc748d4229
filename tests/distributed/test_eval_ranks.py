"""An evaluation on two processes is the one on one process, bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlent.tracking import read_metrics
from tests.distributed.processes import rlent


@pytest.fixture
def recipe(tiny_folder: Path, tmp_path: Path) -> Path:
    """Two sets of additions for the tiny model, so small that chunks are dealt unevenly."""
    rows = [{"question": f"{a} + {b} =", "answer": str(a + b)} for a in range(5) for b in range(5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "additions.jsonl").write_text(lines)
    data = {"name": str(tmp_path / "additions.jsonl"), "style": "plain"}
    text = {
        "name": "ranks",
        "output_dir": str(tmp_path / "runs"),
        "model": {"name": str(tiny_folder)},
        "data": data,
        "rewards": [{"math_answer": {"extract": "last_number"}}],
        "trainer": {
            "max_steps": 1,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 12,
        },
        "engine": {"precision": "float32"},
        "evaluation": {
            "problems": 5,
            "batch_size": 6,
            "sets": {"adds": {"data": data | {"size": 7}, "samples": 3}},
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(text))
    return path


def shown_by(ranks: int, *arguments: str) -> str:
    """What the command prints on so many ranks."""
    result = rlent(ranks, *arguments)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_two_processes_evaluate_as_one(recipe: Path, tmp_path: Path) -> None:
    for ranks in (1, 2):
        shown = shown_by(ranks, "eval", str(recipe), "--output", str(tmp_path / f"on-{ranks}"))
        assert f"processes: {ranks}" in shown
        assert shown.count("95% interval") == 1
    one, two = files(tmp_path / "on-1"), files(tmp_path / "on-2")
    assert one == two
    assert {"summary.json", "adds/problems.parquet", "held_out/problems.parquet"} < set(one)


@pytest.mark.slow
def test_two_ranks_in_training_find_what_one_finds(recipe: Path, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    for ranks in (1, 2):
        shown_by(ranks, "train", str(recipe), f"name=on-{ranks}")
        run = tmp_path / "runs" / f"on-{ranks}"
        rows = [row for row in read_metrics(run / "metrics.jsonl") if row["step"] == 0]
        found.append({name: value for row in rows for name, value in row.items()})
    assert found[0] == found[1]
    assert {"held_out/score", "eval/adds/pass@1", "eval/adds/avg@3", "eval/adds/maj@3"} < set(
        found[0]
    )
    stored = [
        files(tmp_path / "runs" / f"on-{ranks}" / "evaluation/step-000000") for ranks in (1, 2)
    ]
    assert stored[0] == stored[1]
