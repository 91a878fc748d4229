"""Optimiser steps of the tiny model with native rollouts, once for every case: folder, model, engine, cases.

The engine is a recipe's section as JSON, the cases are trainer options by name; ``lora: true`` trains an adapter, and
``reward: three_digits`` gives most completions the same.
"""

import json
import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from peft import LoraConfig

from rlent.config import Engine
from rlent.sharding import accelerator_config, deepspeed_config, join_processes
from rlent.trainer import EntropyGRPOTrainer
from tests.distributed.cases import three_digits
from tests.distributed.outcome import outcome
from tests.trainer.helpers import make_trainer

REWARDS = {"three_digits": three_digits}


def run(engine: Engine, options: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train, and what the run has logged and left."""
    lora = LoraConfig(r=4, target_modules="all-linear") if options.pop("lora", False) else None
    if "reward" in options:
        options["reward"] = REWARDS[options["reward"]]
    config = deepspeed_config(engine, "float32")
    trainer = make_trainer(
        EntropyGRPOTrainer,
        model,
        out,
        rollout_engine="native",
        per_device_train_batch_size=8 // state.num_processes,
        deepspeed=config,
        use_cpu=config is None,
        accelerator_config=accelerator_config(engine),
        peft_config=lora,
        **options,
    )
    trainer.train()
    return outcome(trainer)


folder, model = Path(sys.argv[1]), Path(sys.argv[2])
engine = Engine(**json.loads(sys.argv[3]))
state = join_processes(engine)
results = {}
for name, options in json.loads(sys.argv[4]).items():
    results[name] = run(engine, options, folder / name)
    # Accelerate keeps the DeepSpeed configuration of the trainer before; the process group stays.
    AcceleratorState._reset_state()
(folder / f"rank-{state.process_index}.json").write_text(json.dumps(results))
