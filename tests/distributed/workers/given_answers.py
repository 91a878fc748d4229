"""Recipes with a loss over given answers, trained one after the other: folder, overrides as JSON, recipes."""

import json
import sys
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from accelerate.state import AcceleratorState

from rlent.config import load_recipe
from rlent.launch.loss_run import make_trainer, prepare_loss
from rlent.sharding import join_processes
from rlent.trainer import scores
from rlent.trainer.teachers import load_teacher, transformers_model
from tests.distributed.outcome import outcome, partitioned

scorers: WeakSet[Any] = WeakSet()


def load_scorer(*arguments: Any) -> Any:
    model = load_teacher(*arguments)
    scorers.add(transformers_model(getattr(model, "module", model)))
    return model


scores.load_teacher = load_scorer
folder, overrides = Path(sys.argv[1]), json.loads(sys.argv[2])
results, rank = {}, 0
for path in map(Path, sys.argv[3:]):
    recipe = load_recipe(path, overrides)
    rank = join_processes(recipe.engine).process_index
    trainer = make_trainer(prepare_loss(recipe, folder / path.stem), [])
    in_memory = sum(
        weight.numel() + getattr(weight, "ds_tensor", torch.empty(0)).numel()
        for model in scorers
        for weight in model.parameters()
    )
    trainer.train()
    others = [getattr(trainer, "ref_model", None), *trainer._teachers.values()]
    weights = [weight for model in others if model is not None for weight in model.parameters()]
    fixed = {
        "others": len(weights),
        "others_partitioned": partitioned(weights),
        "scorers": in_memory,
    }
    results[path.stem] = outcome(trainer) | fixed
    # Accelerate keeps the DeepSpeed configuration of the trainer before; the process group stays.
    AcceleratorState._reset_state()
(folder / f"rank-{rank}.json").write_text(json.dumps(results))
