"""Statistics of distributions reach the interventions that ask for them, and are those of full logits."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from rlent.distributions import DIFFERENTIABLE, Statistic
from rlent.errors import ConfigError
from rlent.interventions import Intervention, Metrics
from rlent.trainer import EntropyGRPOTrainer
from rlent.types import Rollouts, Signal, Tokens
from tests.trainer.helpers import make_batch, make_trainer

ASKED = frozenset(
    {
        Statistic("log_probs"),
        Statistic("logsumexp"),
        Statistic("mean_logits"),
        Statistic("kept_log_probs", 0.1),
        Statistic("nucleus_entropy", 0.8),
        Statistic("nucleus_entropy", 0.5),
        Statistic("open_nucleus_entropy", 0.8),
        Statistic("clamped_entropy", 0.3),
        Statistic("is_top1"),
        Statistic("mean_top_log_prob", 3),
        Statistic("next_entropy"),
    }
)
TEMPERATURE = 0.7


@dataclass(frozen=True, kw_only=True)
class Witness(Intervention):
    """Reads statistics and changes nothing."""

    name: ClassVar[str] = "witness"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset({"reward", "penalty"})
    current: frozenset[Statistic] = frozenset()
    old: frozenset[Statistic] = frozenset()
    seen: list[Any]

    @property
    def needs(self) -> frozenset[str]:
        asked = {"statistics": self.current, "old_statistics": self.old}
        return frozenset(need for need, names in asked.items() if names)

    @property
    def statistics(self) -> frozenset[Statistic]:
        return self.current

    @property
    def old_statistics(self) -> frozenset[Statistic]:
        return self.old

    def on_rewards(self, rollouts: Rollouts) -> tuple[Tensor, Metrics]:
        self.seen.append(rollouts)
        return rollouts.reward, {}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        self.seen.append(tokens)
        return replace(signal, penalty=signal.penalty - 0.01 * tokens.logp), {}


def logits(trainer: Any, rollouts: Rollouts) -> Tensor:
    """Of every token, and behind the last [n t+1 v], float64, by the temperature; prompts are padded on the left."""
    ids = torch.cat([rollouts.prompt_ids, rollouts.completion_ids], dim=1)
    attended = torch.cat([rollouts.prompt_ids != 0, rollouts.mask], dim=1)
    width = rollouts.mask.size(1)
    with torch.no_grad():
        raw = trainer.model(input_ids=ids, attention_mask=attended.long()).logits
    return raw[:, -width - 1 :].double() / TEMPERATURE


def expected(z: Tensor, behind: Tensor, target: int) -> dict[Statistic, Tensor]:
    """Of one token, from its logits [v] and those of the place behind it."""
    log_p, falling = z.log_softmax(0), z.log_softmax(0).sort(descending=True).values
    mass, vocabulary = falling.exp().cumsum(0).tolist(), len(z)

    def entropy(tokens: int) -> Tensor:
        log_q = falling[:tokens].log_softmax(0)
        return -(log_q.exp() * log_q).sum()

    def nucleus(top_p: float) -> int:
        return next(number for number, reached in enumerate(mass, 1) if reached >= top_p)

    kept = log_p[log_p >= falling[0] + math.log(0.1)]
    inside = log_p[target] >= kept.min()
    return {
        Statistic("log_probs"): log_p[target],
        Statistic("logsumexp"): z.logsumexp(0),
        Statistic("mean_logits"): z.mean(),
        Statistic("kept_log_probs", 0.1): log_p[target] - kept.logsumexp(0)
        if inside
        else torch.tensor(-torch.inf),
        Statistic("nucleus_entropy", 0.8): entropy(nucleus(0.8)),
        Statistic("nucleus_entropy", 0.5): entropy(nucleus(0.5)),
        Statistic("open_nucleus_entropy", 0.8): entropy(max(nucleus(0.8) - 1, 1)),
        Statistic("clamped_entropy", 0.3): entropy(vocabulary - int(0.3 * vocabulary)),
        Statistic("is_top1"): (log_p.argmax() == target).double(),
        Statistic("mean_top_log_prob", 3): falling[:3].mean(),
        Statistic("next_entropy"): -(behind.softmax(0) * behind.log_softmax(0)).sum(),
    }


def expected_everywhere(z: Tensor, ids: Tensor, mask: Tensor) -> dict[Statistic, Tensor]:
    """Of the tokens [k] in the mask."""
    places = zip(z[:, :-1][mask], z[:, 1:][mask], ids[mask], strict=True)
    each = [expected(row, behind, int(target)) for row, behind, target in places]
    return {name: torch.stack([token[name].double() for token in each]) for name in ASKED}


@pytest.mark.parametrize("engine", ["native", "transformers"])
@pytest.mark.parametrize("iterations", [1, 2])
def test_old_statistics_are_those_of_full_logits(
    tiny_folder: Path, tmp_path: Path, engine: str, iterations: int
) -> None:
    """A learning rate of 0 keeps the generating policy for the test to ask."""
    seen: list[Any] = []
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=[Witness(old=ASKED, current=ASKED, seen=seen)],
        rollout_engine=engine,
        num_iterations=iterations,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        temperature=TEMPERATURE,
        learning_rate=0.0,
        max_steps=1,
    )
    trainer.train()
    rollouts, *parts = seen
    assert len(parts) == 2
    z = logits(trainer, rollouts)
    wanted = expected_everywhere(z, rollouts.completion_ids, rollouts.mask)
    for statistic in ASKED:
        found = rollouts.old_statistics[statistic]
        assert found.shape == rollouts.mask.shape
        assert torch.allclose(found[rollouts.mask].double(), wanted[statistic], atol=1e-4)
        assert not found.requires_grad
        for tokens in parts:
            for values in (tokens.statistics[statistic], tokens.old_statistics[statistic]):
                assert values.shape == tokens.mask.shape
            assert torch.allclose(
                tokens.statistics[statistic][tokens.mask].double(),
                tokens.old_statistics[statistic][tokens.mask].double(),
                atol=1e-4,
            )
        of_parts = torch.cat([part.old_statistics[statistic][part.mask] for part in parts])
        assert torch.allclose(
            of_parts.double().sort().values, found[rollouts.mask].double().sort().values, atol=1e-6
        )


def test_what_nobody_asks_for_is_not_computed(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native engine scores what it samples: the only pass is the update's, without further statistics."""
    passes: list[bool] = []
    score = EntropyGRPOTrainer._score

    def counted(self: Any, *args: Any) -> Any:
        passes.append(torch.is_grad_enabled())
        return score(self, *args)

    monkeypatch.setattr(EntropyGRPOTrainer, "_score", counted)
    for asked, expected_passes in ((frozenset(), [True]), (ASKED, [False, True])):
        passes.clear()
        seen: list[Any] = []
        make_trainer(
            EntropyGRPOTrainer,
            tiny_folder,
            tmp_path,
            interventions=[Witness(old=asked, seen=seen)],
            max_steps=1,
        ).train()
        assert passes == expected_passes
        assert seen[0].old_statistics.keys() == asked
        assert not seen[1].statistics


def test_a_scoring_pass_serves_old_scores_too(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without captured scores, statistics and old entropies come from one pass."""
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=[Witness(old=ASKED, seen=[]), {"forking_tokens": {}}],
    )
    batch = make_batch(trainer, old=False)
    trainer._reward_parts = torch.rand(8, 1)
    passes = []
    score = trainer._score
    monkeypatch.setattr(trainer, "_score", lambda *a: passes.append(1) or score(*a))
    trainer._scored.clear()
    described = trainer._described(batch, [{"prompt": ""}] * 8)
    assert len(passes) == 1
    assert described["old_entropy"].shape == batch["completion_mask"].shape


@pytest.mark.parametrize(
    "statistic",
    sorted((each for each in ASKED if each.name in DIFFERENTIABLE), key=str),
    ids=str,
)
def test_gradients_are_those_of_full_logits(
    tiny_folder: Path, tmp_path: Path, statistic: Statistic
) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=[Witness(current=ASKED, seen=[])],
        temperature=TEMPERATURE,
    )
    batch = make_batch(trainer, old=False)
    tokens = trainer._tokens(trainer.model, batch)
    values = tokens.statistics[statistic]
    assert values.requires_grad
    trainer.model.zero_grad()
    (values * tokens.mask).sum().backward()
    given = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}

    trainer.model.zero_grad()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attended = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    width = tokens.mask.size(1)
    z = trainer.model(input_ids=ids, attention_mask=attended).logits[:, -width - 1 :]
    wanted = expected_everywhere(z / TEMPERATURE, batch["completion_ids"], tokens.mask)
    wanted[statistic].sum().backward()
    assert max(p.grad.abs().max() for p in trainer.model.parameters()) > 1e-3
    for name, parameter in trainer.model.named_parameters():
        assert torch.allclose(given[name], parameter.grad, atol=1e-4), name


def test_the_others_carry_no_gradient(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=[Witness(current=ASKED, seen=[])]
    )
    tokens = trainer._tokens(trainer.model, make_batch(trainer, old=False))
    assert {each for each in ASKED if tokens.statistics[each].requires_grad} == {
        each for each in ASKED if each.name in DIFFERENTIABLE
    }


def test_one_min_p_for_a_policy(tiny_folder: Path, tmp_path: Path) -> None:
    asked = frozenset({Statistic("kept_log_probs", number) for number in (0.02, 0.1)})
    with pytest.raises(ConfigError, match=r"different min_p") as raised:
        make_trainer(
            EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=[Witness(old=asked, seen=[])]
        )
    assert raised.value.remedy
