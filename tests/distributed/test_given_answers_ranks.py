"""Losses over given answers on one process and on two: the same metrics and the same model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlent.tracking import read_metrics
from tests.distributed.cases import largest_difference
from tests.distributed.processes import rlent


def recipe_of(tiny: Path, folder: Path, loss: dict[str, Any]) -> str:
    rows = [
        {
            "prompt": f"{a % 9} + {a % 5} =",
            "chosen": f" so {a % 7}",
            "rejected": " wait" * (1 + a % 4),
        }
        for a in range(48)
    ]
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    section: dict[str, Any] = {"name": str(data), "style": "plain"}
    if "diversity_or_precision" in loss:
        section["columns"] = {"completion": "chosen"}
    recipe = {
        "output_dir": str(folder / "runs"),
        "model": {"name": str(tiny)},
        "data": section,
        "loss": loss,
        "trainer": {
            "max_steps": 3,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "gradient_accumulation_steps": 2,
            "max_length": 64,
            "logging_steps": 1,
        },
        "engine": {"precision": "float32"},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        {"tdpo": {"variant": 2}},
        {"cdpo": {"positive": "", "negative": ""}},
        {"diversity_or_precision": {"beta": -0.25, "tail": -0.1, "k": 5}},
    ],
    ids=lambda loss: next(iter(loss)),
)
def test_two_processes_learn_what_one_learns(
    loss: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    if "cdpo" in loss:
        loss = {"cdpo": {"positive": str(tiny_folder), "negative": str(tiny_folder)}}
    path = recipe_of(tiny_folder, tmp_path, loss)
    steps, weights = [], []
    for ranks in (1, 2):
        rows = f"trainer.per_device_train_batch_size={4 // ranks}"
        done = rlent(ranks, "train", path, f"name=on-{ranks}", rows)
        assert done.returncode == 0, done.stderr[-3000:]
        run = tmp_path / "runs" / f"on-{ranks}"
        steps.append([row for row in read_metrics(run / "metrics.jsonl") if "loss" in row])
        weights.append(load_file(run / "model" / "model.safetensors"))
    one, two = steps
    assert len(one) == 3
    assert all(row["grad_norm"] > 0 for row in one)
    assert largest_difference(one, two, parts=True) < 1e-5
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-4, atol=1e-5)
