"""Two steps in which the ranks do not see the same, for every difference: folder, model, engine, differences."""

import json
import sys
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState

from rlent.config import Engine
from rlent.sharding import accelerator_config, deepspeed_config, join_processes
from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import digits_reward, make_trainer

folder, model, engine = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
section = Engine(**json.loads(engine))
state = join_processes(section)
second = state.process_index == 1


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """That of the other tests, but for rank 1."""
    scores = digits_reward(completions, **columns)
    if second and what == "raises":
        raise RuntimeError("the reward cannot be had on rank 1")
    if second and what == "infinite reward":
        return [float("inf"), *scores[1:]]
    return [0.5] * len(scores) if second and what in ("no variance", "nobody kept") else scores


class WithNaN(EntropyGRPOTrainer):
    """Loses its loss on rank 1 in the second step."""

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        return loss * float("nan") if second and self.state.global_step == 1 else loss


INTERVENTIONS: dict[str, list[Any]] = {
    "no variance": [{"forking_tokens": {"fraction": 0.3}}],
    "nobody kept": [{"dynamic_sampling": {"zero_variance": "drop"}}, {"forking_tokens": {}}],
    "no forking token": [{"forking_tokens": {"fraction": 0.02}}],
}
results = {}
for what in sys.argv[4:]:
    config = deepspeed_config(section, "float32")
    trainer = make_trainer(
        WithNaN if "nan" in what else EntropyGRPOTrainer,
        Path(model),
        folder / what,
        rollout_engine="native",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        deepspeed=config,
        use_cpu=config is None,
        accelerator_config=accelerator_config(section),
        reward=reward,
        interventions=INTERVENTIONS.get(what, []),
        tokens_per_micro_batch=30,
        non_finite="skip" if what == "nan skipped" else "stop",
        max_steps=2,
    )
    trainer.train()
    results[what] = [row for row in trainer.state.log_history if "loss" in row]
    # Accelerate keeps the DeepSpeed configuration of the trainer before; the process group stays.
    AcceleratorState._reset_state()
(folder / f"rank-{state.process_index}.json").write_text(json.dumps(results))
