"""Warnings are said once, and are metrics of every step."""

import io
from pathlib import Path
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from rlent.tracking import MetricsFile, read_metrics
from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.callbacks import HealthCallback, MetricsCallback
from tests.trainer.helpers import make_trainer

ARGUMENTS = TrainingArguments("out", use_cpu=True, report_to=[])


def log(callback: HealthCallback, state: TrainerState, **metrics: float) -> dict[str, Any]:
    """One line, as Trainer.log hands it out."""
    state.global_step += 1
    logs: dict[str, Any] = {"reward": 0.0, **metrics}
    state.log_history.append({**logs, "step": state.global_step})
    callback.on_log(ARGUMENTS, state, TrainerControl(), logs)
    return logs


def test_a_warning_is_said_once_and_stays_in_the_metrics() -> None:
    stream = io.StringIO()
    callback, state = HealthCallback(stream), TrainerState()
    callback.on_train_begin(ARGUMENTS, state, TrainerControl())
    seen = [log(callback, state, frac_reward_zero_std=1.0) for _ in range(8)]
    assert [row["health/equal_rewards"] for row in seen] == [0.0] * 4 + [1.0] * 4
    assert all(row["health/truncation"] == 0.0 for row in seen)
    assert stream.getvalue().count("warning at step 5: equal rewards") == 1
    assert stream.getvalue().count("warning") == 1
    for _ in range(5):
        row = log(callback, state, frac_reward_zero_std=0.0)
    assert row["health/equal_rewards"] == 0.0


def test_a_resumed_run_is_not_told_again_and_other_ranks_are_silent() -> None:
    stream = io.StringIO()
    state = TrainerState(log_history=[{"reward": 0.0, "frac_reward_zero_std": 1.0}] * 6)
    callback = HealthCallback(stream)
    callback.on_train_begin(ARGUMENTS, state, TrainerControl())
    assert log(callback, state, frac_reward_zero_std=1.0)["health/equal_rewards"] == 1.0
    other = TrainerState(is_world_process_zero=False)
    callback.on_train_begin(ARGUMENTS, other, TrainerControl())
    for _ in range(6):
        log(callback, other, frac_reward_zero_std=1.0)
    assert stream.getvalue() == ""


def test_lines_that_are_no_steps_are_left_alone() -> None:
    callback, state = HealthCallback(io.StringIO()), TrainerState()
    logs: dict[str, Any] = {"train_runtime": 3.0}
    callback.on_log(ARGUMENTS, state, TrainerControl(), logs)
    callback.on_log(ARGUMENTS, state, TrainerControl(), None)
    assert logs == {"train_runtime": 3.0}


def test_a_real_run_whose_rewards_are_all_equal(tiny_folder: Path, tmp_path: Path) -> None:
    def equal(completions: list[Any], **_: Any) -> list[float]:
        return [1.0] * len(completions)

    stream = io.StringIO()
    metrics = tmp_path / "metrics.jsonl"
    callbacks = [HealthCallback(stream), MetricsCallback(MetricsFile(metrics))]
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        max_steps=6,
        reward=equal,
        callbacks=callbacks,
        max_completion_length=3,
    )
    trainer.train()
    rows = [row for row in read_metrics(metrics) if "reward" in row]
    assert [row["health/equal_rewards"] for row in rows] == [0.0] * 4 + [1.0] * 2
    assert stream.getvalue().count("equal rewards") == 1
