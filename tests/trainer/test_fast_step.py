"""What makes a step faster leaves its gradient, its metrics and its log as they are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.objective import LOSS_TYPES
from rlent.tracking.rollouts import RolloutLog, read_rollouts
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.micro_batches import (
    arrange,
    nobody,
    padded_tokens,
    parts_by_tokens,
    rows_of,
    trimmed,
)
from tests.tiny import tiny_tokenizer
from tests.trainer.helpers import digits_reward, make_trainer

SLOW = {"sort_by_length": False, "skip_idle_rollouts": False}
SHARED = ("loss", "grad_norm", "entropy", "clip_ratio/region_mean", "reward")


def uneven_reward(prompts: list[str], completions: list[Any], **columns: Any) -> list[float]:
    """Completions of the prompts with a plus sign are all worth the same."""
    rewards = digits_reward(completions, **columns)
    noise = torch.linspace(0, 0.1, len(rewards)).tolist()
    return [
        0.5 if "+" in prompt else reward + extra
        for prompt, reward, extra in zip(prompts, rewards, noise, strict=True)
    ]


def train(model: Path, out: Path, **options: Any) -> Any:
    log = RolloutLog(out / "rollouts", tiny_tokenizer(), ["uneven_reward"])
    settings = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 4,
        "max_steps": 4,
        "rollout_engine": "native",
        "reward": uneven_reward,
        "rollout_log": log,
        **options,
    }
    trainer = make_trainer(EntropyGRPOTrainer, model, out, **settings)
    trainer.train()
    log.flush()
    return trainer


def parameters(trainer: Any) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]).detach()


def forwards(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    inner = trainer._compute_loss

    def counted(model: Any, inputs: Any) -> Any:
        ids = inputs["completion_ids"]
        shapes.append((ids.size(0), ids.size(1) + inputs["prompt_ids"].size(1)))
        return inner(model, inputs)

    monkeypatch.setattr(trainer, "_compute_loss", counted)
    return shapes


@pytest.mark.parametrize("loss_type", [name for name in LOSS_TYPES if name != "bnpo"])
def test_training_ends_where_it_would_have_ended(
    tiny_folder: Path, tmp_path: Path, loss_type: str
) -> None:
    slow = train(tiny_folder, tmp_path / "slow", loss_type=loss_type, **SLOW)
    for number, options in enumerate(
        [{}, {"tokens_per_micro_batch": 16}, {**SLOW, "tokens_per_micro_batch": 30}]
    ):
        fast = train(tiny_folder, tmp_path / str(number), loss_type=loss_type, **options)
        torch.testing.assert_close(parameters(fast), parameters(slow), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    "interventions",
    [
        [{"forking_tokens": {"fraction": 0.3}}, "clip_preserve"],
        ["entropy_band"],
        ["dynamic_sampling"],
    ],
    ids=["selection", "penalty", "filter"],
)
def test_interventions_see_the_same_tokens(
    tiny_folder: Path, tmp_path: Path, interventions: list[Any]
) -> None:
    if interventions[0] == "dynamic_sampling":
        interventions = [{"dynamic_sampling": {"reward": "uneven_reward"}}]
    options = {"loss_type": "dapo", "interventions": interventions}
    slow = train(tiny_folder, tmp_path / "slow", **options, **SLOW)
    fast = train(tiny_folder, tmp_path / "fast", tokens_per_micro_batch=20, **options)
    torch.testing.assert_close(parameters(fast), parameters(slow), rtol=1e-4, atol=2e-6)


def test_metrics_and_log_hold_the_rollouts_that_were_not_run(
    tiny_folder: Path, tmp_path: Path
) -> None:
    slow = train(tiny_folder, tmp_path / "slow", **SLOW)
    fast = train(tiny_folder, tmp_path / "fast")
    saved = [line["saved/rollouts"] for line in fast.state.log_history if "saved/rollouts" in line]
    assert saved
    assert 0 < max(saved) < 1
    name = "saved/padded_tokens"
    padded = [line[name] for line in fast.state.log_history if name in line]
    assert 0 < max(padded) < 1
    # Two optimiser steps share a generation batch; what is not run enters the means of the first one.
    for name in SHARED[:2]:
        ours, theirs = (
            [line[name] for line in trainer.state.log_history if name in line]
            for trainer in (fast, slow)
        )
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6), name
    ours, theirs = (read_rollouts(tmp_path / name / "rollouts") for name in ("fast", "slow"))

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["step"], row["group"], row["token_id"], row["reward"]

    for one, other in zip(sorted(ours, key=key), sorted(theirs, key=key), strict=True):
        assert key(one) == key(other)
        for name in ("advantage", "weight", "selected"):
            assert one[name] == pytest.approx(other[name], abs=1e-6), name
        if not any(one["advantage"]):
            assert len(one["entropy"]) == len(other["entropy"])


def test_the_entropy_of_one_update_covers_every_token(tiny_folder: Path, tmp_path: Path) -> None:
    options = {"steps_per_generation": 2, "max_steps": 2}
    slow = train(tiny_folder, tmp_path / "slow", **options, **SLOW)
    fast = train(tiny_folder, tmp_path / "fast", **options)
    for ours, theirs in zip(fast.state.log_history, slow.state.log_history, strict=True):
        for name in SHARED:
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.05},
        {"loss_type": "bnpo"},
        {"interventions": ["entropy_band"]},
        {"skip_idle_rollouts": False},
        {"rollout_engine": "transformers", "steps_per_generation": 2, "max_steps": 2},
    ],
    ids=["beta", "bnpo", "penalty", "asked", "unknown"],
)
def test_nothing_is_left_out_that_somebody_reads(
    tiny_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    trainer = train(tiny_folder, tmp_path, **options)
    assert not any("saved/rollouts" in line for line in trainer.state.log_history)


def test_the_scoring_pass_is_skipped(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    inner = EntropyGRPOTrainer._score

    def counted(self: Any, model: Any, inputs: Any, rows: int | None = None) -> Any:
        calls.append("scored" if not torch.is_grad_enabled() else "trained")
        return inner(self, model, inputs, rows)

    monkeypatch.setattr(EntropyGRPOTrainer, "_score", counted)
    options = {"interventions": ["forking_tokens"], "steps_per_generation": 2, "max_steps": 2}
    train(tiny_folder, tmp_path / "native", **options)
    assert set(calls) == {"trained"}
    train(tiny_folder, tmp_path / "transformers", rollout_engine="transformers", **options)
    assert "scored" in calls


def test_captured_scores_are_those_of_a_scoring_pass(tiny_folder: Path, tmp_path: Path) -> None:
    """Two updates per generation batch: the first has ratio 1 only if the old scores are right."""
    trainer = train(tiny_folder, tmp_path, max_steps=1)
    (line,) = [line for line in trainer.state.log_history if "clip_ratio/region_mean" in line]
    assert line["clip_ratio/region_mean"] == 0.0
    batch = trainer._buffered_inputs[0]
    assert batch["old_per_token_logps"] is not None
    fresh = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path / "fresh", temperature=1.0)
    with torch.no_grad():
        logp, entropy = fresh._score(fresh.model, batch)
    mask = batch["completion_mask"].bool()
    torch.testing.assert_close(batch["old_per_token_logps"][mask], logp[mask], rtol=0, atol=1e-4)
    torch.testing.assert_close(batch["old_entropy"][mask], entropy[mask], rtol=0, atol=1e-4)


def test_a_part_stays_below_its_tokens(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "per_device_train_batch_size": 8,
        "max_steps": 2,
        "rollout_engine": "native",
        "tokens_per_micro_batch": 24,
    }
    trainer = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, **settings)
    shapes = forwards(trainer, monkeypatch)
    trainer.train()
    assert len(shapes) > 2
    assert all(rows * width <= 24 or rows == 1 for rows, width in shapes)


def test_micro_batches_are_trimmed_to_their_own_longest(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "max_steps": 1,
        "rollout_engine": "native",
        "max_completion_length": 16,
        "seed": 5,
    }
    trainer = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, **settings)
    shapes = forwards(trainer, monkeypatch)
    trainer.train()
    widths = [width for _, width in shapes]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]


def ragged(lengths: list[int], prompts: list[int]) -> dict[str, Any]:
    rows, t, p = len(lengths), 9, 6
    mask = (torch.arange(t) < torch.tensor(lengths)[:, None]).long()
    prompt_mask = (torch.arange(p) >= p - torch.tensor(prompts)[:, None]).long()
    number = torch.arange(1, rows + 1)[:, None]
    return {
        "prompt_ids": number * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": number * mask,
        "completion_mask": mask,
        "advantages": torch.arange(rows).float(),
        "row": torch.arange(rows),
        "num_items_in_batch": mask.sum(),
    }


def test_trimming_loses_padding_alone() -> None:
    batch = ragged([3, 5, 0], [2, 4, 1])
    small = trimmed(batch)
    assert small["completion_ids"].shape == (3, 5)
    assert small["prompt_ids"].shape == (3, 4)
    for name in ("prompt_ids", "completion_ids"):
        assert small[name].sum(1).tolist() == batch[name].sum(1).tolist()
    assert small["advantages"] is batch["advantages"]


def test_rows_are_sorted_and_trimmed() -> None:
    whole = ragged([1, 9, 3, 4], [1] * 4)
    arranged = arrange([rows_of(whole, rows) for rows in torch.arange(4).split(2)], by_length=True)
    assert [batch["row"].tolist() for batch in arranged.batches] == [[1, 3], [2, 0]]
    assert [batch["completion_ids"].size(1) for batch in arranged.batches] == [9, 3]
    assert all(b["num_items_in_batch"] == whole["num_items_in_batch"] for b in arranged.batches)
    assert len(arranged.left_out["row"]) == 0


@pytest.mark.parametrize(
    ("idle", "run", "left_out"),
    [
        ([0, 1, 0, 0, 1, 0], [[0, 2], [3, 5]], [1, 4]),
        ([1, 1, 1, 0, 1, 1], [[0], [3]], [1, 2, 4, 5]),
        ([1, 1, 1, 1, 1, 1], [[0], [1]], [2, 3, 4, 5]),
    ],
)
def test_idle_rows_are_left_out_but_no_micro_batch_is_empty(
    idle: list[int], run: list[list[int]], left_out: list[int]
) -> None:
    whole = ragged([1, 9, 3, 4, 5, 6], [1] * 6) | {"idle": torch.tensor(idle).bool()}
    arranged = arrange([rows_of(whole, rows) for rows in torch.arange(6).split(3)], by_length=False)
    assert [batch["row"].tolist() for batch in arranged.batches] == run
    assert arranged.left_out["row"].tolist() == left_out


@pytest.mark.parametrize("tokens", [1, 5, 12, 1000])
def test_parts_are_full_and_hold_every_row_once(tokens: int) -> None:
    batch = ragged([1, 9, 3, 4, 2, 8, 7, 5], [1, 2, 3, 4, 1, 2, 3, 4])
    parts = parts_by_tokens(batch, tokens)
    assert sorted(torch.cat(parts).tolist()) == list(range(8))
    lengths = (batch["prompt_mask"].sum(1) + batch["completion_mask"].sum(1)).tolist()
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        rows = part.tolist()
        longest = lengths[rows[0]]
        assert longest == max(lengths[row] for row in rows)
        assert len(rows) == 1 or len(rows) * longest <= tokens
        assert after is None or (len(rows) + 1) * longest > tokens


def test_padding_counts_as_tokens() -> None:
    batch = ragged([3, 5, 0], [2, 4, 1])
    assert padded_tokens(batch) == 3 * (6 + 9)
    assert padded_tokens(trimmed(batch)) == 3 * (4 + 5)


def test_nobody_is_a_row_that_nothing_is_learnt_from() -> None:
    row = nobody(ragged([3, 1, 5], [2, 2, 2]))
    assert row["row"].tolist() == [1]
    assert not row["kept"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens_per_micro_batch": 0}, "trainer.tokens_per_micro_batch"),
        ({"max_live_sequences": 0}, "trainer.max_live_sequences"),
        ({"tokens_per_micro_batch": 99, "loss_type": "bnpo"}, "bnpo averages"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EntropyGRPOConfig("unused", use_cpu=True, bf16=False, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generation_kwargs": {"num_beams": 2}}, "generation_kwargs.num_beams"),
        ({"cache_implementation": "static"}, "cache_implementation"),
    ],
)
def test_generation_options_that_the_engine_does_not_know_are_refused(
    tiny_folder: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, rollout_engine="native", **options)
