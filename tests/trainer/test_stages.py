"""Every stage of a chain is called by the trainer, with whole records, at its time."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from rlent.interventions import Intervention, Mean, Metrics, StepStatistics
from rlent.trainer import EntropyGRPOTrainer
from rlent.types import Rollouts, Selection, Signal, Tokens
from tests.trainer.helpers import make_trainer


@dataclass(frozen=True, kw_only=True)
class Witness(Intervention):
    """Takes part in every stage and remembers what it saw."""

    name: ClassVar[str] = "witness"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset({"reward", "advantage", "select", "penalty"})
    seen: list[tuple[str, Any]]

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_entropy", "entropy_grad"})

    def build(self) -> "Seeing":
        return Seeing(self.seen)


class Seeing:
    def __init__(self, seen: list[tuple[str, Any]]) -> None:
        self.seen = seen

    def on_rewards(self, rollouts: Rollouts) -> tuple[torch.Tensor, Metrics]:
        self.seen.append(("on_rewards", rollouts))
        return 2 * rollouts.reward, {}

    def on_advantages(
        self, rollouts: Rollouts, advantage: torch.Tensor
    ) -> tuple[torch.Tensor, Metrics]:
        self.seen.append(("on_advantages", (rollouts, advantage)))
        return advantage + 0.5, {}

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        self.seen.append(("on_select", selection))
        select = selection.select.clone()
        select[:, 1::2] = False
        return replace(selection, select=select), {"share": Mean(select.sum(), rollouts.mask.sum())}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        self.seen.append(("on_tokens", (tokens, signal)))
        return replace(signal, penalty=signal.penalty - 0.01 * tokens.entropy), {"seen": 1.0}

    def on_step(self, statistics: StepStatistics) -> None:
        self.seen.append(("on_step", statistics))


@pytest.fixture(scope="module")
def seen(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any]]:
    """Two optimiser steps of two micro-batches each."""
    seen: list[tuple[str, Any]] = []
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path_factory.mktemp("stages"),
        max_steps=2,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        interventions=[Witness(seen=seen)],
    )
    trainer.train()
    seen.append(("log", trainer.state.log_history))
    return seen


def test_stages_come_in_order(seen: list[tuple[str, Any]]) -> None:
    step = ["on_rewards", "on_advantages", "on_select", "on_tokens", "on_tokens", "on_step"]
    assert [name for name, _ in seen] == [*step, *step, "log"]


def test_rollouts_are_whole_and_scored(seen: list[tuple[str, Any]]) -> None:
    rollouts = seen[0][1]
    assert rollouts.mask.shape[0] == 8
    assert rollouts.group.tolist() == [0] * 4 + [1] * 4
    assert torch.equal(rollouts.reward, rollouts.reward_parts[:, 0])
    assert (rollouts.old_entropy[rollouts.mask] > 0).all()
    assert (rollouts.old_logp[rollouts.mask] < 0).all()


def test_rewards_reach_the_advantages(seen: list[tuple[str, Any]]) -> None:
    rollouts, advantage = seen[1][1]
    reward = 2 * seen[0][1].reward
    assert torch.equal(rollouts.reward, reward)
    groups = reward.view(2, 4)
    expected = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    assert torch.allclose(advantage, expected.view(8, 1).expand_as(advantage))


def test_micro_batches_carry_what_the_batch_was_given(seen: list[tuple[str, Any]]) -> None:
    rollouts = seen[0][1]
    parts = [seen[3][1], seen[4][1]]
    assert (
        sorted(torch.cat([tokens.group for tokens, _ in parts]).tolist()) == rollouts.group.tolist()
    )
    for tokens, signal in parts:
        assert tokens.entropy.requires_grad
        assert not signal.select[:, 1::2].any()
        assert torch.allclose(
            tokens.entropy[tokens.mask], tokens.old_entropy[tokens.mask], atol=1e-5
        )


def test_step_statistics_are_those_of_all_tokens(seen: list[tuple[str, Any]]) -> None:
    statistics = seen[5][1]
    tokens = [tokens for tokens, _ in (seen[3][1], seen[4][1])]
    entropy = torch.cat([part.entropy[part.mask] for part in tokens])
    assert statistics.tokens == entropy.numel()
    assert statistics.entropy == pytest.approx(entropy.mean().item(), rel=1e-5)
    assert 0.4 < statistics.selected < 0.7


def test_metrics_carry_the_interventions_name(seen: list[tuple[str, Any]]) -> None:
    row = seen[-1][1][0]
    assert 0.4 < row["witness/share"] < 0.7
    assert row["witness/seen"] == 1.0
