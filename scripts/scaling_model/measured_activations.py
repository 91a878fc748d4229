"""What the trainer's own loss saves for backward."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.scaling_model.formulas import activations
from scripts.scaling_model.shapes import Shape
from scripts.scaling_model.small_models import Comparison, small_model, storages


def check_activations(shapes: Iterable[Shape], length: int) -> Iterator[Comparison]:
    """What the trainer's own loss saves, head included, for two rollouts of ``length`` tokens."""
    for shape in shapes:
        for dtype in (torch.float32, torch.bfloat16):
            for checkpointing in (False, True):
                tokens, scored = 2 * length, length
                case = (
                    f"{shape.name}, {str(dtype).split('.')[1]}{', checkpointing' * checkpointing}"
                )
                yield Comparison(
                    what=f"activations, {case}",
                    predicted=activations(
                        shape, tokens, scored, dtype.itemsize, checkpointing=checkpointing
                    ),
                    measured=saved_bytes(shape, dtype, length, checkpointing=checkpointing),
                )


def saved_bytes(shape: Shape, dtype: torch.dtype, length: int, *, checkpointing: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        trainer = small_trainer(shape, Path(folder), dtype)
    trainer.model.to(dtype).train()
    if checkpointing:
        trainer.model.activation_checkpointing_enable()
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = trainer._compute_loss(trainer.model, small_batch(length, shape.vocabulary))
    weights = storages(trainer.model.parameters())
    total = sum(size for pointer, size in storages(saved).items() if pointer not in weights)
    loss.backward()
    return total


def small_trainer(shape: Shape, folder: Path, dtype: torch.dtype) -> Any:
    from datasets import Dataset

    from rlent.small.tokenizer import small_tokenizer
    from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
    from rlent.trainer.trainer import unlabelled

    options: dict[str, Any] = {"router_aux_loss_coef": 0.0} if shape.experts else {}
    args = EntropyGRPOConfig(
        str(folder),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=8,
        use_cpu=True,
        bf16=dtype == torch.bfloat16,
        gradient_accumulation_steps=1,
        report_to=[],
        **options,
    )
    trainer = EntropyGRPOTrainer(
        small_model(shape),
        unlabelled,
        args,
        train_dataset=Dataset.from_dict({"prompt": ["1"] * 4}),
        processing_class=small_tokenizer(),
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def small_batch(length: int, vocabulary: int) -> dict[str, Tensor]:
    """Two rollouts without padding, half prompt and half completion."""
    half = length // 2
    ids = torch.randint(5, vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    ones = torch.ones(2, half, dtype=torch.long)
    return {
        "prompt_ids": ids[:, :half],
        "prompt_mask": ones,
        "completion_ids": ids[:, half:],
        "completion_mask": ones,
        "advantages": torch.tensor([1.0, -1.0]),
        "num_items_in_batch": ones.sum(),
        "group": torch.zeros(2, dtype=torch.long),
        "reward": torch.tensor([1.0, 0.0]),
        "row": torch.arange(2),
    }
