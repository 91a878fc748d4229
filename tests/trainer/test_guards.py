"""A step whose loss or gradient is not finite: what is kept, what is said, what is left out."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.errors import CheckpointError, NonFiniteError, RewardError
from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import make_trainer


class BrokenAt(EntropyGRPOTrainer):
    """The loss of the first micro-batch of a step is multiplied by ``factor``; its gradient too."""

    broken_step = 1
    factor = float("nan")

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        first = len(self._losses) == 0
        return loss * self.factor if first and self.state.global_step == self.broken_step else loss


class InfiniteGradient(EntropyGRPOTrainer):
    """A finite loss with an infinite gradient, as a square root at 0 has."""

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        loss = super()._compute_loss(model, inputs)
        return loss + (loss - loss.detach()).abs().sqrt()


def weights(trainer: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.model.parameters()]


def broken(
    cls: type[EntropyGRPOTrainer], model: Path, folder: Path, steps: int = 3, **options: Any
) -> Any:
    return make_trainer(
        cls, model, folder, max_steps=steps, gradient_accumulation_steps=2, **options
    )


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_the_run_stops_with_the_weights_of_the_step_before(
    tiny_folder: Path, tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokenAt, "factor", factor)
    trainer = broken(BrokenAt, tiny_folder, tmp_path / "broken")
    with pytest.raises(NonFiniteError, match="step 2: the loss of micro-batch 0") as caught:
        trainer.train()
    assert trainer.state.global_step == 1
    assert not torch.isnan(torch.cat([value.flatten() for value in weights(trainer)])).any()
    saved = torch.load(caught.value.path)
    assert saved["step"] == 2
    assert len(saved["micro_batches"]) == len(saved["losses"]) == 2
    assert saved["micro_batches"][0]["completion_ids"].shape[0] == len(saved["completions"][0])


def test_an_infinite_gradient_under_a_finite_loss_stops_the_run(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = broken(InfiniteGradient, tiny_folder, tmp_path)
    before = weights(trainer)
    with pytest.raises(NonFiniteError, match=r"step 1: the gradient \(norm (nan|inf)\)"):
        trainer.train()
    assert all(torch.equal(one, other) for one, other in zip(before, weights(trainer), strict=True))


def test_a_step_that_is_left_out_changes_nothing_and_is_counted(
    tiny_folder: Path, tmp_path: Path
) -> None:
    constant = {"lr_scheduler_type": "constant", "non_finite": "skip"}
    trainer = broken(BrokenAt, tiny_folder, tmp_path / "two", steps=2, **constant)
    trainer.train()
    once = broken(BrokenAt, tiny_folder, tmp_path / "one", steps=1, **constant)
    once.train()
    assert trainer.skipped_steps == 1
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [row.get("non_finite/skipped_steps") for row in rows] == [None, 1.0]
    pairs = zip(weights(once), weights(trainer), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_an_infinite_reward_is_an_error(tiny_folder: Path, tmp_path: Path) -> None:
    def endless(completions: list[Any], **_: Any) -> list[float]:
        return [float("inf")] * len(completions)

    trainer = broken(EntropyGRPOTrainer, tiny_folder, tmp_path, reward=endless)
    with pytest.raises(RewardError, match="the reward endless is infinite"):
        trainer.train()


def test_a_full_disk_stops_the_run_and_leaves_the_older_checkpoints(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 1}
    trainer = broken(EntropyGRPOTrainer, tiny_folder, tmp_path, **saving)
    write = torch.save

    def full(obj: Any, path: Any, *rest: Any, **more: Any) -> None:
        if "checkpoint-2" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(obj, path, *rest, **more)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="checkpoint-2 could not be written") as caught:
        trainer.train()
    assert "No space left on device" in str(caught.value)
    assert [path.name for path in tmp_path.glob("*checkpoint*")] == ["checkpoint-1"]
