"""One optimiser step of the tiny model on fixed rollouts, whatever the number of ranks."""

import json
import sys
from pathlib import Path
from typing import Any

from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import make_trainer


class FixedRollouts(EntropyGRPOTrainer):
    """Completions that depend on their prompt and place in the global batch alone."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        first = self.accelerator.process_index * len(prompt_ids)
        rows = range(first, first + len(prompt_ids))
        return [[5 + (row * 7 + 3 * k) % 20 for k in range(1 + row % 6)] for row in rows], None


folder, model = Path(sys.argv[1]), Path(sys.argv[2])
import accelerate  # noqa: E402

ranks = accelerate.PartialState(cpu=True).num_processes
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
    ddp_backend="gloo",
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
            "weights": weights,
        }
    )
)
