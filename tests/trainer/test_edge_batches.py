"""Batches with nothing to learn from have a defined outcome: a finite step, and weights that stay."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import make_trainer

FORKING = [{"forking_tokens": {"fraction": 0.2}}]


def train_one_step(trainer: Any) -> dict[str, Any]:
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = max(
        (p - before[name]).abs().max().item() for name, p in trainer.model.named_parameters()
    )
    row = next(row for row in trainer.state.log_history if "reward" in row)
    return {**row, "moved": moved}


def equal_rewards(completions: list[Any], **_: Any) -> list[float]:
    return [1.0] * len(completions)


@pytest.mark.parametrize("interventions", [[], FORKING], ids=["none", "forking"])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_equal_rewards_move_nothing(
    tiny_folder: Path, tmp_path: Path, interventions: list[Any], loss_type: str
) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        max_steps=1,
        reward=equal_rewards,
        interventions=interventions,
        loss_type=loss_type,
    )
    row = train_one_step(trainer)
    assert row["frac_reward_zero_std"] == 1.0
    assert row["loss"] == row["grad_norm"] == row["moved"] == 0.0
    assert row["entropy"] > 0


class OnlyEos(EntropyGRPOTrainer):
    """Every completion is the end-of-sequence token alone."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        return [[self.eos_token_ids[0]] for _ in prompt_ids], None


class Nothing(EntropyGRPOTrainer):
    """Every completion runs into the length limit and is masked out."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        return [[7] * 8 for _ in prompt_ids], None


def alternating(completions: list[Any], **_: Any) -> list[float]:
    return [float(i % 2) for i in range(len(completions))]


def test_completions_of_eos_alone_are_learnt_from(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        OnlyEos, tiny_folder, tmp_path, max_steps=1, reward=alternating, interventions=FORKING
    )
    row = train_one_step(trainer)
    assert row["completions/mean_length"] == 1.0
    assert torch.isfinite(torch.tensor([row["loss"], row["grad_norm"]])).all()
    assert row["forking_tokens/kept_share"] == 0.25  # ceil(0.2 * 8) of 8 tokens


def test_a_batch_with_every_completion_masked_moves_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(
        Nothing,
        tiny_folder,
        tmp_path,
        max_steps=1,
        reward=alternating,
        interventions=FORKING,
        mask_truncated_completions=True,
    )
    row = train_one_step(trainer)
    assert row["loss"] == row["grad_norm"] == row["moved"] == 0.0
    assert row["forking_tokens/kept_share"] == 0.0


def test_a_reward_that_raises_stops_the_run(tiny_folder: Path, tmp_path: Path) -> None:
    def broken(completions: list[Any], **_: Any) -> list[float]:
        raise RuntimeError("the grader is down")

    trainer = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, max_steps=1, reward=broken)
    with pytest.raises(RuntimeError, match="the grader is down"):
        trainer.train()
