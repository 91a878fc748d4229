"""Two steps in which the ranks do not see the same: folder, model, engine, what is different on rank 1."""

import json
import sys
from pathlib import Path
from typing import Any

from rlent.config import Engine
from rlent.sharding import accelerator_config, deepspeed_config, join_processes
from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import digits_reward, make_trainer

folder, model, engine, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
section = Engine(**json.loads(engine))
state = join_processes(section)
second = state.process_index == 1


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """That of the other tests, but for rank 1."""
    scores = digits_reward(completions, **columns)
    if second and what == "raises":
        raise RuntimeError("the reward cannot be had on rank 1")
    if what == "nan loss":
        # An infinite reward makes advantages of its group, and so the loss of its rank, NaN.
        return [float("inf") if second and row == 0 else score for row, score in enumerate(scores)]
    return [0.5] * len(scores) if second and what in ("no variance", "nobody kept") else scores


INTERVENTIONS: dict[str, list[Any]] = {
    "no variance": [{"forking_tokens": {"fraction": 0.3}}],
    "nobody kept": [{"dynamic_sampling": {"zero_variance": "drop"}}, {"forking_tokens": {}}],
    "no forking token": [{"forking_tokens": {"fraction": 0.02}}],
}
config = deepspeed_config(section, "float32")
trainer = make_trainer(
    EntropyGRPOTrainer,
    Path(model),
    folder / "out",
    rollout_engine="native",
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    deepspeed=config,
    use_cpu=config is None,
    accelerator_config=accelerator_config(section),
    reward=reward,
    interventions=INTERVENTIONS.get(what, []),
    tokens_per_micro_batch=30,
    max_steps=2,
)
trainer.train()
rows = [row for row in trainer.state.log_history if "loss" in row]
(folder / f"rank-{state.process_index}.json").write_text(json.dumps(rows))
