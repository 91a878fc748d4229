"""Two steps in which the ranks do not see the same, for every difference: folder, model, engine, differences.

Each rank writes the steps that it has taken, how many tokens it has selected, and the error that has stopped it.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
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
    if second and what in ("raises", "infinite reward"):
        (folder / "failing").touch()
    if second and what == "raises":
        raise RuntimeError("the reward cannot be had on rank 1")
    if second and what == "infinite reward":
        return [float("inf"), *scores[1:]]
    return [0.5] * len(scores) if second and what in ("no variance", "nobody kept") else scores


def full_disk(obj: Any, path: Any, *rest: Any, **more: Any) -> None:
    """torch.save, but for a file of rank 1's: under DeepSpeed one that is written when its own are."""
    own = "rank-1.pt" if section.uses_deepspeed else "rng_state_1.pth"
    if what == "disk full" and Path(path).parts[-2:] == ("checkpoint-2", own):
        (folder / "failing").touch()
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")
    save(obj, path, *rest, **more)


class WithNaN(EntropyGRPOTrainer):
    """Loses its loss on rank 1 in the second step."""

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        if not second or self.state.global_step != 1:
            return loss
        (folder / "failing").touch()
        return loss * float("nan")


class Selecting(EntropyGRPOTrainer):
    """Counts the tokens that it has selected; in one case rank 1 was certain of all of its own."""

    selected: list[int]

    def _select(self, batch: Any, rollouts: Any) -> None:
        if second and what == "no forking token":
            rollouts = replace(rollouts, old_entropy=torch.zeros_like(rollouts.old_entropy))
        super()._select(batch, rollouts)
        self.selected.append(int(batch.get("select", rollouts.mask).sum()))


INTERVENTIONS: dict[str, list[Any]] = {
    "no variance": [{"forking_tokens": {"fraction": 0.3}}],
    "nobody kept": [{"dynamic_sampling": {"zero_variance": "drop"}}, {"forking_tokens": {}}],
    "no forking token": [{"forking_tokens": {"fraction": 0.02}}],
}
save, torch.save = torch.save, full_disk
results: dict[str, Any] = {}
error = None
for what in sys.argv[4:]:
    config = deepspeed_config(section, "float32")
    trainer = make_trainer(
        WithNaN if "nan" in what else Selecting,
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
        save_strategy="steps" if what == "disk full" else "no",
        save_steps=1,
    )
    trainer.selected = []
    try:
        trainer.train()
    except Exception as raised:
        error = raised
    results[what] = {
        "steps": [row for row in trainer.state.log_history if "loss" in row],
        "selected": trainer.selected,
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }
    # Accelerate keeps the DeepSpeed configuration of the trainer before; the process group stays.
    AcceleratorState._reset_state()
(folder / f"rank-{state.process_index}.json").write_text(json.dumps(results))
if error is not None:
    # Whoever fails first takes the others with it, and they have something to say.
    state.wait_for_everyone()
    raise error
