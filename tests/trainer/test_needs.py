"""An intervention whose need is not met stops the run before it starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from trl import GRPOConfig

from rlent.errors import ConfigError
from rlent.interventions import ForkingTokens, Intervention, Metrics, chain
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.needs import check_needs
from rlent.types import Rollouts, Signal, Tokens
from tests.trainer.helpers import make_trainer


@dataclass(frozen=True, kw_only=True)
class Asks(Intervention):
    """An intervention that only asks."""

    name: ClassVar[str] = "asks"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset({"keep_low"})
    asked: frozenset[str] = frozenset()

    @property
    def needs(self) -> frozenset[str]:
        return self.asked

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        return signal, {}


@dataclass(frozen=True, kw_only=True)
class Rewards(Asks):
    writes: ClassVar[frozenset[str]] = frozenset({"reward"})

    def on_rewards(self, rollouts: Rollouts) -> tuple[torch.Tensor, Metrics]:
        return rollouts.reward, {}


def args(tmp_path: Path, **options: Any) -> EntropyGRPOConfig:
    return EntropyGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **options)


@pytest.mark.parametrize(
    ("need", "missing", "given"),
    [
        ("several_updates", {}, {"num_iterations": 2}),
        ("prompt_logp", {"temperature": 0.7}, {"temperature": 1.0}),
        (
            "token_clipping",
            {"loss_type": "cispo", "epsilon_high": 2.0},
            {"epsilon_high": 0.2, "loss_type": "grpo"},
        ),
        (
            "token_clipping",
            {"importance_sampling_level": "sequence"},
            {"importance_sampling_level": "token"},
        ),
        ("plain_clipping", {"loss_type": "sapo"}, {"loss_type": "grpo"}),
        ("plain_clipping", {"delta": 2.0}, {"delta": None}),
        ("several_updates", {"gradient_accumulation_steps": 2}, {"steps_per_generation": 4}),
        (
            "whole_groups",
            {"per_device_train_batch_size": 4, "generation_batch_size": 4, "num_generations": 2},
            {"num_generations": 4},
        ),
        ("micro_batch_denominator", {"loss_type": "dapo"}, {"loss_type": "grpo"}),
        (
            "micro_batch_denominator",
            {"loss_type": "cispo", "epsilon_high": 2.0},
            {"loss_type": "bnpo"},
        ),
    ],
)
def test_unmet_needs_name_the_line_to_change(
    tmp_path: Path, need: str, missing: dict[str, Any], given: dict[str, Any]
) -> None:
    writes_nothing = Rewards(asked=frozenset({need}))
    if need != "whole_groups":
        with pytest.raises(ConfigError) as raised:
            check_needs(chain([writes_nothing]), args(tmp_path, **missing))
        assert raised.value.key == "interventions.0.asks"
        assert raised.value.remedy is not None
        assert "trainer." in raised.value.remedy
    check_needs(chain([writes_nothing]), args(tmp_path, **{**missing, **given}))


def test_groups_cut_by_ranks_are_refused(tmp_path: Path) -> None:
    """Two ranks with three rows each, in groups of two: the middle group is on both."""
    config = args(tmp_path, per_device_train_batch_size=4, num_generations=4)
    config.per_device_train_batch_size = 3
    with pytest.raises(ConfigError, match="all completions of a prompt on one rank"):
        check_needs(chain([ForkingTokens(scope="group")]), config)


@pytest.mark.parametrize("loss_type", ["cispo", "sapo", "vespo"])
def test_moving_a_field_that_the_surrogate_does_not_read_is_refused(
    tmp_path: Path, loss_type: str
) -> None:
    with pytest.raises(ConfigError, match=f"keep_low, which the surrogate {loss_type}") as raised:
        check_needs(chain([Asks()]), args(tmp_path, loss_type=loss_type))
    assert raised.value.remedy == (
        "set trainer.loss_type to one of grpo, bnpo, dr_grpo, dapo, luspo, or trainer.surrogate to one of ppo, gspo"
    )
    check_needs(chain([Asks()]), args(tmp_path, loss_type="grpo"))


def test_rewards_need_the_sum_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="summed before they are normalised"):
        check_needs(
            chain([Rewards()]), args(tmp_path, multi_objective_aggregation="normalize_then_sum")
        )


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        (
            "top_entropy_quantile",
            0.2,
            "use the intervention forking_tokens: its denominator is a choice",
        ),
        ("entropy_coef", 0.01, "use the intervention entropy_bonus: "),
        ("use_adaptive_entropy", True, "use the intervention adaptive_entropy: "),
        ("cast_lm_head_to_fp32", True, "remove it: "),
    ],
)
def test_options_that_interventions_own_are_refused_in_python_too(
    tmp_path: Path, option: str, value: Any, remedy: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        args(tmp_path, **{option: value})
    assert raised.value.key == f"trainer.{option}"
    assert raised.value.remedy is not None
    assert raised.value.remedy.startswith(remedy)


def test_trainer_takes_objects_and_mappings(tiny_folder: Path, tmp_path: Path) -> None:
    for given in ([ForkingTokens(fraction=0.3)], [{"forking_tokens": {"fraction": 0.3}}]):
        trainer = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=given)
        assert [link.config for link in trainer.chain.links] == [ForkingTokens(fraction=0.3)]
    with pytest.raises(ConfigError, match="forking_token"):
        make_trainer(
            EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=[{"forking_token": {}}]
        )


@pytest.mark.parametrize(
    ("steps_per_generation", "iterations", "accumulation", "expected"),
    [
        (1, 1, 1, 1),
        (4, 1, 4, 1),
        (1, 1, 4, 1),
        (4, 1, 1, 4),
        (3, 1, 2, 3),
        (2, 3, 4, 3),
        (2, 2, 2, 2),
    ],
)
def test_checkpoints_fall_where_all_rollouts_are_used(
    tmp_path: Path, steps_per_generation: int, iterations: int, accumulation: int, expected: int
) -> None:
    config = args(
        tmp_path,
        steps_per_generation=steps_per_generation,
        num_iterations=iterations,
        gradient_accumulation_steps=accumulation,
    )
    micro_batches = steps_per_generation * iterations
    by_search = next(s for s in range(1, 100) if s * accumulation % micro_batches == 0)
    assert config.steps_to_fresh_rollouts == expected == by_search


def test_plain_trl_arguments_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="interventions own") as raised:
        EntropyGRPOTrainer(
            str(tiny_folder),
            args=GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[]),  # pyright: ignore
        )
    assert "EntropyGRPOConfig" in str(raised.value)
