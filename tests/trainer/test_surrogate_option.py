"""``trainer.surrogate``: what can be written, what is refused, and that each surrogate trains among interventions."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.interventions import ClipHigher, chain
from rlent.surrogates import CISPO, DPPO, PPO, SAPO, SURROGATES, VESPO, Surrogate
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.losses import objective_of, ratio_bounds, surrogate_of
from rlent.trainer.needs import check_needs
from tests.trainer.helpers import make_trainer, relative_difference
from tests.trainer.test_splitting import step_gradients


def config(tmp_path: Path, **options: Any) -> EntropyGRPOConfig:
    return EntropyGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **options)


@pytest.mark.parametrize(
    ("options", "surrogate"),
    [
        ({}, PPO()),
        (
            {"importance_sampling_level": "sequence", "delta": 4.0},
            PPO(level="sequence", dual_clip=4.0),
        ),
        ({"loss_type": "cispo", "epsilon_high": 5.0}, CISPO()),
        ({"loss_type": "sapo", "sapo_temperature_pos": 0.7}, SAPO(temperature_positive=0.7)),
        ({"loss_type": "vespo", "vespo_k_neg": 1.5}, VESPO(k_negative=1.5)),
        ({"surrogate": "sapo"}, SAPO()),
        ({"surrogate": {"sapo": None}}, SAPO()),
        (
            {"surrogate": {"dppo": {"divergence": "kl", "delta": 0.1}}},
            DPPO(divergence="kl", delta=0.1),
        ),
        ({"surrogate": DPPO(delta_high=0.3)}, DPPO(delta_high=0.3)),
        ({"surrogate": {"cispo": {"sides": "both"}}, "epsilon_high": 0.28}, CISPO(sides="both")),
    ],
)
def test_what_is_written_is_what_is_trained_with(
    tmp_path: Path, options: dict[str, Any], surrogate: Surrogate
) -> None:
    assert surrogate_of(config(tmp_path, **options)) == surrogate


def test_the_loss_type_still_says_what_is_averaged(tmp_path: Path) -> None:
    own = objective_of(config(tmp_path, loss_type="luspo"))
    other = objective_of(config(tmp_path, loss_type="luspo", surrogate="dro"))
    assert own.aggregate is other.aggregate


def test_an_object_is_kept_as_a_recipe_would_say_it(tmp_path: Path) -> None:
    """The arguments are written to files and trackers, which know no object of rlent."""
    given = config(tmp_path, surrogate=DPPO(delta=0.1))
    assert given.to_dict()["surrogate"] == {
        "dppo": {"divergence": "tv", "delta": 0.1, "delta_high": None, "max_ratio": 20.0}
    }
    assert "dppo" in given.to_json_string()


@pytest.mark.parametrize(
    ("options", "key", "says"),
    [
        ({"surrogate": "gpso"}, "trainer.surrogate.gpso", "did you mean: gspo"),
        ({"surrogate": {"dpo": {}}}, "trainer.surrogate.dpo", "did you mean: dppo"),
        (
            {"surrogate": {"dppo": {"dleta": 0.1}}},
            "trainer.surrogate.dppo.dleta",
            "did you mean: delta",
        ),
        (
            {"surrogate": {"dppo": {"divergence": "tw"}}},
            "trainer.surrogate.dppo.divergence",
            "'tv' or 'kl'",
        ),
        ({"surrogate": {"dppo": {"delta": "a"}}}, "trainer.surrogate.dppo.delta", "a number"),
        (
            {"surrogate": {"dppo": {"delta": -1.0}}},
            "trainer.surrogate.dppo.delta",
            "not be negative",
        ),
        ({"surrogate": {"ppo": {}, "dro": {}}}, "trainer.surrogate", "one name"),
        ({"surrogate": 3}, "trainer.surrogate", "a name or"),
        (
            {"surrogate": {"ppo": {"dual_clip": 1.1}}},
            "trainer.surrogate.ppo.dual_clip",
            "more than 1.2",
        ),
        ({"surrogate": "luspo"}, "trainer.surrogate", "set trainer.loss_type to luspo"),
        ({"loss_type": "dapoo"}, "trainer.loss_type", "did you mean: dapo"),
        ({"delta": 1.1}, "trainer.delta", "more than 1.2"),
        ({"importance_sampling_level": "tokens"}, "trainer.importance_sampling_level", "'token'"),
        (
            {"loss_type": "sapo", "sapo_temperature_neg": -1.0},
            "trainer.sapo_temperature_neg",
            "sapo_temperature_neg must be positive",
        ),
        ({"loss_type": "vespo", "vespo_lambda_pos": 0.0}, "trainer.vespo_lambda_pos", "at least"),
        # Without effect
        ({"loss_type": "cispo", "delta": 4.0}, "trainer.delta", "no effect on loss_type cispo"),
        ({"loss_type": "sapo", "epsilon": 0.1}, "trainer.epsilon", "no effect on loss_type sapo"),
        ({"loss_type": "cispo", "epsilon": 0.1, "epsilon_high": 5.0}, "trainer.epsilon", "cispo"),
        ({"sapo_temperature_pos": 0.7}, "trainer.sapo_temperature_pos", "reads it: sapo"),
        ({"vespo_k_pos": 0.7}, "trainer.vespo_k_pos", "reads it: vespo"),
        (
            {"loss_type": "vespo", "importance_sampling_level": "sequence"},
            "trainer.importance_sampling_level",
            "reads it: ppo, cispo, sapo",
        ),
        ({"surrogate": "dppo", "epsilon_high": 0.28}, "trainer.epsilon_high", "surrogate dppo"),
        ({"surrogate": "dppo", "delta": 4.0}, "trainer.delta", "surrogate: {dppo: {delta: ...}}"),
        (
            {"surrogate": "gmpo", "epsilon": 0.3},
            "trainer.epsilon",
            "surrogate: {gmpo: {epsilon: ...}}",
        ),
        ({"surrogate": "ppo", "delta": 4.0}, "trainer.delta", "surrogate: {ppo: {dual_clip: ...}}"),
        (
            {"loss_type": "sapo", "surrogate": "sapo", "sapo_temperature_pos": 0.7},
            "trainer.sapo_temperature_pos",
            "surrogate: {sapo: {temperature_positive: ...}}",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, options: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(tmp_path, **options)
    assert raised.value.key == key
    assert says in str(raised.value)


def test_bounds_of_the_surrogate_that_is_written(tmp_path: Path) -> None:
    assert ratio_bounds(config(tmp_path, epsilon=0.1, epsilon_high=0.3)) == pytest.approx(
        (0.9, 1.3)
    )
    gmpo = config(tmp_path, surrogate={"gmpo": {"epsilon": 0.5}})
    assert ratio_bounds(gmpo) == pytest.approx((math.exp(-0.5), math.exp(0.5)))


def test_vllms_correction_is_refused_where_it_would_mean_something_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        config(tmp_path, loss_type="vespo", use_vllm=True)
    assert raised.value.key == "trainer.vllm_importance_sampling_correction"
    config(tmp_path, loss_type="vespo", use_vllm=True, vllm_importance_sampling_correction=False)


@pytest.mark.parametrize("name", SURROGATES)
def test_bounds_are_moved_only_where_they_are_read(tmp_path: Path, name: str) -> None:
    args = config(tmp_path, surrogate=name, num_iterations=2)
    moves = chain([ClipHigher()])
    if "clip_high" in SURROGATES[name].reads:
        check_needs(moves, args)
        return
    with pytest.raises(ConfigError, match=f"moves clip_high, which the surrogate {name}") as raised:
        check_needs(moves, args)
    assert raised.value.remedy is not None
    assert raised.value.remedy.endswith("trainer.surrogate to one of ppo, gspo, gmpo, cispo")


ANYWHERE: list[dict[str, Any]] = [
    {"advantage_reweighting": {}},
    {"forking_tokens": {"fraction": 0.5}},
    {"steer": {}},
    {"entropy_bonus": {}},
]
"""Interventions that choose, weight, change advantages and penalise."""


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_trains_among_interventions(
    tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    keeping = [{"clip_preserve": {}}] if "keep_high" in SURROGATES[name].reads else []
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=[*ANYWHERE, *keeping],
        surrogate=name,
        num_iterations=2,
        max_steps=3,
    )
    before = {key: value.clone() for key, value in trainer.model.named_parameters()}
    trainer.train()
    assert any(
        not torch.equal(value, before[key]) for key, value in trainer.model.named_parameters()
    )
    logged = {k: v for entry in trainer.state.log_history for k, v in entry.items()}
    assert math.isfinite(logged["grad_norm"])
    assert ("clip_ratio/region_mean" in logged) == (name in ("ppo", "gspo", "gmpo", "dppo"))


@pytest.mark.parametrize("name", SURROGATES)
def test_micro_batches_do_not_matter(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    options = {
        "surrogate": name,
        "loss_type": "grpo",
        "interventions": [{"forking_tokens": {"fraction": 0.3}}],
    }
    whole = step_gradients(tiny_folder, tmp_path, 1, **options)
    split = step_gradients(tiny_folder, tmp_path, 4, **options)
    assert max(gradient.norm() for gradient in whole.values()) > 1e-3
    for parameter, gradient in whole.items():
        assert relative_difference(split[parameter], gradient) <= 1e-5, parameter


def equal_rewards(completions: list[Any], **_: Any) -> list[float]:
    return [1.0] * len(completions)


@pytest.mark.parametrize(("name", "skipped"), [("ppo", True), ("dro", False)])
def test_rollouts_without_advantage_are_run_where_they_are_learnt_from(
    tiny_folder: Path, tmp_path: Path, name: str, skipped: bool
) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        surrogate=name,
        rollout_engine="native",
        reward=equal_rewards,
        num_iterations=2,
        max_steps=1,
    )
    trainer.train()
    logged = {k: v for entry in trainer.state.log_history for k, v in entry.items()}
    assert ("saved/rollouts" in logged) == skipped
