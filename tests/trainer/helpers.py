"""Trainers on the tiny model, and rollouts that both TRL's and rlent's trainer can be given."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from tests.tiny import tiny_tokenizer

PROMPTS = ["1 + 1 =", "2 + 3 =", "4 - 1 =", "9 * 2 ="]


def digits_reward(completions: list[Any], **_: Any) -> list[float]:
    """Share of words that are digits: differs between completions, needs no answer."""
    words = [completion.split() for completion in completions]
    return [sum(word.isdigit() for word in row) / max(len(row), 1) for row in words]


def make_trainer(cls: type[GRPOTrainer], model: Path, folder: Path, **options: Any) -> Any:
    """A trainer of either class with the same arguments."""
    extra = {
        name: options.pop(name)
        for name in ("interventions", "rollout_log", "callbacks", "peft_config")
        if name in options
    }
    reward = options.pop("reward", digits_reward)
    config = EntropyGRPOConfig if issubclass(cls, EntropyGRPOTrainer) else GRPOConfig
    arguments = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "use_cpu": True,
        "report_to": [],
        "bf16": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "learning_rate": 1e-3,
        "activation_checkpointing": False,
        "seed": 3,
        **options,
    }
    return cls(
        str(model),
        reward,
        config(str(folder), **arguments),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS * 8}),
        processing_class=tiny_tokenizer(),
        **extra,
    )


def make_batch(trainer: Any, *, rows: int = 8, old: bool, seed: int = 0) -> dict[str, Tensor]:
    """Ragged random rollouts, one of them wholly padded, as TRL lays out a generation batch."""
    g = torch.Generator().manual_seed(seed)
    length = 8
    lengths = torch.randint(1, length + 1, (rows, 1), generator=g)
    lengths[2] = 0
    mask = (torch.arange(length).expand(rows, length) < lengths).long()
    prompt_mask = torch.ones(rows, 4, dtype=torch.long)
    prompt_mask[1, :2] = 0
    batch = {
        "prompt_ids": torch.randint(5, 20, (rows, 4), generator=g),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(5, 20, (rows, length), generator=g) * mask,
        "completion_mask": mask,
        "advantages": torch.randn(rows, generator=g),
        "num_items_in_batch": mask.sum(),
        "group": torch.arange(rows) // 4,
        "reward": torch.rand(rows, generator=g),
        "row": torch.arange(rows),
    }
    logp, _ = score(trainer, batch)
    noise = 0.4 * torch.randn(rows, length, generator=g)
    if old:
        batch["old_per_token_logps"] = (logp + noise).clamp(max=-1e-4)
    if trainer.beta:
        batch["ref_per_token_logps"] = (logp - 0.3 * noise).clamp(max=-1e-4)
    return batch


def score(trainer: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        logp, entropy, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
            batch["completion_ids"].size(1),
            compute_entropy=True,
        )
    return logp, entropy


def loss_and_gradients(
    trainer: Any, batches: list[dict[str, Tensor]]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of the micro-batches' losses and the accumulated gradient of every parameter."""
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(batches)
    total = torch.zeros(())
    for batch in batches:
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        total += loss.detach()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    return total, gradients


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm; 0 where both are 0."""
    scale = theirs.norm().item()
    difference = (ours - theirs).norm().item()
    return difference / scale if scale else difference
