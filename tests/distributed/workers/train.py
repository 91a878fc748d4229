"""One optimiser step of the tiny model on fixed rollouts: folder, model, ZeRO stage (0: no DeepSpeed)."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import accelerate

from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import make_trainer


class FixedRollouts(EntropyGRPOTrainer):
    """Completions that depend on their prompt and place in the global batch alone."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        first = self.accelerator.process_index * len(prompt_ids)
        rows = range(first, first + len(prompt_ids))
        return [[5 + (row * 7 + 3 * k) % 20 for k in range(1 + row % 6)] for row in rows], None


def zero(stage: int) -> dict[str, Any]:
    """Trainer arguments for DeepSpeed ZeRO on CPU processes; `use_cpu` would turn DeepSpeed off."""
    config = {
        "zero_optimization": {"stage": stage},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
    }
    return {
        "deepspeed": config,
        "use_cpu": False,
        "accelerator_config": {"use_configured_state": True},
    }


folder, model, stage = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if stage:
    os.environ |= {"DS_ACCELERATOR": "cpu", "ACCELERATE_USE_DEEPSPEED": "true"}
    ranks = accelerate.PartialState(backend="gloo").num_processes
    options = zero(stage)
else:
    ranks = accelerate.PartialState(cpu=True).num_processes
    options = {"ddp_backend": "gloo"}
trainer = make_trainer(
    FixedRollouts,
    model,
    folder / "out",
    max_steps=1,
    per_device_train_batch_size=8 // ranks,
    interventions=[{"forking_tokens": {"fraction": 0.3}}],
    optim="sgd",
    learning_rate=0.1,
    max_grad_norm=1e9,
    **options,
)
trainer.train()
row = next(row for row in trainer.state.log_history if "reward" in row)
weights = [
    parameter.double().sum().item()
    for parameter in trainer.accelerator.unwrap_model(trainer.model).parameters()
]
(folder / f"rank-{trainer.accelerator.process_index}.json").write_text(
    json.dumps(
        {
            "kept_share": row["forking_tokens/kept_share"],
            "entropy": row["entropy"],
            "grad_norm": float(row["grad_norm"]),
            "backend": str(trainer.accelerator.distributed_type),
            "weights": weights,
        }
    )
)
