"""Decoding and branching rules in training: group sizes, the ratio's denominator, what is learnt from, and refusals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Generation
from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.native_rollout import NativeRollout, forking_of
from tests.trainer.helpers import make_trainer

CRITICAL = {"critical_token": {"n1": 2, "n2": 1}}
SHARED = {"critical_token": {"n1": 2, "n2": 1, "learn_shared": True}}
UNCERTAIN = {"uncertain_tokens": {"trees": 1, "tokens": 3, "forks": 1}}
CHANGE = {"entropy_change": {"initial_completions": 1, "every": 2, "window": 1}}


def trainer_of(model: Path, folder: Path, **options: Any) -> Any:
    settings = {"rollout_engine": "native", "max_steps": 2, **options}
    return make_trainer(EntropyGRPOTrainer, model, folder, **settings)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Generation]:
    """Every generation batch that grows from forks."""
    made: list[Generation] = []
    original = NativeRollout.generate_groups

    def noted(self: NativeRollout, *args: Any) -> Generation:
        made.append(original(self, *args))
        return made[-1]

    monkeypatch.setattr(NativeRollout, "generate_groups", noted)
    return made


def batches(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every generation batch as the trainer has described it."""
    seen: list[dict[str, Any]] = []
    original = type(trainer)._described

    def noted(self: Any, batch: dict[str, Any], inputs: Any) -> dict[str, Any]:
        described = original(self, batch, inputs)
        seen.append({**batch, **described})
        return described

    monkeypatch.setattr(type(trainer), "_described", noted)
    return seen


@pytest.mark.parametrize(
    "rule", [CRITICAL, SHARED, UNCERTAIN, CHANGE], ids=lambda rule: next(iter(rule))
)
def test_groups_are_whole_and_on_policy(
    rule: dict[str, Any], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_folder, tmp_path, branching=rule)
    made, seen = watched(monkeypatch), batches(trainer, monkeypatch)
    trainer.train()
    assert len(made) == len(seen) == 2
    for generation, batch in zip(made, seen, strict=True):
        names = [(one.prompt, one.index) for one in generation.completions]
        assert names == [(group, index) for group in range(2) for index in range(4)]
        assert any(one.parent is not None for one in generation.completions)
        assert batch["group"].tolist() == [0] * 4 + [1] * 4
        for row, one in enumerate(generation.completions):
            ids = batch["completion_ids"][row, : len(one.token_ids)]
            assert ids.tolist() == one.token_ids.tolist()
    history = trainer.state.log_history[0]
    forks = [one for one in made[0].completions if one.branch_step is not None]
    tokens = sum(len(one.token_ids) for one in made[0].completions)
    assert history["branching/forks"] == pytest.approx(len(forks) / 8)
    shared = sum(one.branch_step or 0 for one in forks)
    assert history["branching/shared_tokens"] == pytest.approx(shared / tokens)
    assert history["rollout/branching_factor"] > 1
    assert history["clip_ratio/region_mean"] == 0


def test_shared_tokens_are_learnt_from_once(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_folder, tmp_path, branching=CRITICAL)
    made, seen = watched(monkeypatch), batches(trainer, monkeypatch)
    trainer.train()
    masked = 0
    for generation, batch in zip(made, seen, strict=True):
        counted = 0
        for row, one in enumerate(generation.completions):
            own = len(one.token_ids) - (one.branch_step or 0)
            mask = batch["completion_mask"][row] * batch["tool_mask"][row]
            assert int(mask.sum()) == own
            counted += own
            masked += one.branch_step or 0
        assert int(batch["num_items_in_batch"]) == counted
    assert masked > 0


def test_without_that_every_token_is_learnt_from(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_folder, tmp_path, branching=SHARED)
    seen = batches(trainer, monkeypatch)
    trainer.train()
    assert all("tool_mask" not in batch for batch in seen)


@pytest.mark.parametrize("name", ["typical", "entropy_aware"])
def test_the_ratio_is_of_the_policy_at_its_temperature(
    name: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a token was drawn from is not the ratio's denominator: on the policy's own tokens every ratio is 1."""
    options = {"typical": {"mass": 0.3}, "entropy_aware": {"mean": 1.0, "std": 0.1}}[name]
    trainer = trainer_of(
        tiny_folder,
        tmp_path,
        decoding={name: options},
        temperature=0.8,
        steps_per_generation=2,
        learning_rate=0.0,
        epsilon=1e-3,
    )
    seen = batches(trainer, monkeypatch)
    trainer.train()
    batch = seen[0]
    logp, _ = trainer._score(trainer.model, batch)
    mask = batch["completion_mask"].bool()
    torch.testing.assert_close(
        batch["old_per_token_logps"][mask], logp[mask].detach(), atol=1e-4, rtol=1e-4
    )
    assert all(row.get("clip_ratio/region_mean", 0) == 0 for row in trainer.state.log_history)


def test_a_rule_with_a_memory_sees_every_batch(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_folder, tmp_path, decoding={"entropy_temperature": {}})
    assert trainer._native.decoding.statistics is None
    trainer.train()
    assert trainer._native.decoding.statistics is not None
    state = trainer._native.state_dict()
    fresh = trainer_of(tiny_folder, tmp_path, decoding={"entropy_temperature": {}})
    fresh._native.load_state_dict(state)
    assert fresh._native.decoding.statistics == trainer._native.decoding.statistics


@pytest.mark.parametrize(
    ("options", "key", "match"),
    [
        ({"decoding": {"cautious": {}}}, "rollout.decoding.cautious", "no distribution"),
        ({"decoding": {"typical": {"mass": 2.0}}}, "rollout.decoding.typical.mass", "mass"),
        (
            {"decoding": {"typical": {}}, "generation_kwargs": {"typical_p": 0.5}},
            "decoding.typical",
            "itself",
        ),
        (
            {"decoding": {"typical": {}}, "rollout_engine": "transformers"},
            "rollout.decoding",
            "only rlent's engine",
        ),
        (
            {"branching": CRITICAL, "rollout_engine": "transformers"},
            "rollout.branching",
            "only rlent's engine",
        ),
        ({"branching": {"critical_token": {}}}, "rollout.branching.critical_token", "all forks"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    options: dict[str, Any], key: str, match: str, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        trainer_of(tiny_folder, tmp_path, **options)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"per_device_train_batch_size": 2}, "by one process"),
        ({"budgets": {"levels": [4]}}, "budgets"),
    ],
)
def test_groups_that_cannot_fork_are_refused(options: dict[str, Any], match: str) -> None:
    """A group on two ranks, which takes two ranks to come about, and cuts at budgets."""
    settings = {
        "branching": CRITICAL,
        "budgets": None,
        "num_generations": 4,
        "per_device_train_batch_size": 8,
        "steps_per_generation": 1,
        **options,
    }
    args: Any = SimpleNamespace(**settings)
    with pytest.raises(ConfigError, match=match) as caught:
        forking_of(args)
    assert (caught.value.key or "").startswith("rollout.branching")
