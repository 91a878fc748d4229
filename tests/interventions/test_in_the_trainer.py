"""Published token-level interventions, together as far as they compose, run in the trainer and move the policy."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import make_trainer

ADVANTAGES: list[dict[str, Any]] = [
    {"w_reinforce": {}},
    {"edge_grpo": {}},
    {"advantage_reweighting": {}},
    {"entropy_advantage": {}},
]
CHAINS: dict[str, list[dict[str, Any]]] = {
    "advantages": ADVANTAGES,
    "dcpo": [*ADVANTAGES, {"dcpo_clip": {}}, {"clip_cov": {}}, {"erc": {}}, {"steer": {}}],
    "exact_steer": [{"steer": {"estimator": "exact", "scope": "group"}}],
    "archer": [
        {"archer": {"epsilon_high_entropy": [0.2, 0.5]}},
        {"clip_cov": {"as_released": True, "low": 0.0}},
    ],
    "aspo": [{"aspo": {}}, {"adaptive_entropy": {"initial": 0.003, "target": 9.0}}],
    "bapo": [{"bapo": {}}, {"entropy_bonus": {}}],
    "kl_cov": [{"kl_cov": {"share": 0.1}}],
    "one_half": [
        {"w_reinforce": {"positive": 0.0, "correct": 0.1, "zero_weight": "drop"}},
        {"dcpo_clip": {"as_released": True}},
    ],
    "self_certainty": [{"self_certainty": {}}, {"siren": {}}, {"aent": {"low": 5.0, "high": 6.0}}],
    "lp_reg": [
        {"lp_reg": {"share": 1.0, "min_p": 0.3}},
        {"siren": {"as_released": True, "anchor": 0.5}},
    ],
    "simko": [{"simko": {"correct": 0.1, "quantile": 0.3}}],
    "hapo": [{"hapo_advantage": {}}, {"hapo": {}}],
    "dcpo_advantage": [{"rent": {}}, {"dcpo_advantage": {}}, {"trajectory_gtpo": {}}],
    "quantile": [{"rent": {"without_answer": -7.0}}, {"quantile_advantage": {}}],
    "entropy_minimisation": [{"entropy_minimisation": {}}],
    "entropy_minimisation_as_released": [{"entropy_minimisation": {"as_released": True}}],
    "skywork": [{"adaptive_entropy": {"initial": 0.003, "target": 9.0, "as_released": "skywork"}}],
    "trl": [
        {"forking_tokens": {"fraction": 0.5}},
        {"edge_grpo": {"as_released": True}},
        {"adaptive_entropy": {"initial": 0.003, "target": 9.0, "as_released": "trl"}},
    ],
    "without_rewards_that_differ": [
        {"empo": {}},
        {"passk_advantage": {"k": 2}},
        {"entropy_bonus": {"weight": 0.1}},
    ],
    "ares": [
        {"ares_reward": {"strength": 0.2, "target": "batch", "triggers": ["wait", "but", "so"]}},
        {"ares_kl": {"window": 2, "quantile": 0.5}},
    ],
    "ares_as_released": [
        {"ares_reward": {"as_released": True}},
        {"ares_kl": {"as_released": True}},
    ],
    "entrocraft": [{"entrocraft": {"lower": (99.0, 99.0), "upper": None}}],
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_trains(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=CHAINS[name],
        num_iterations=2,
        max_steps=3,
    )
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    assert any(
        not torch.equal(value, before[name]) for name, value in trainer.model.named_parameters()
    )
    logged = {k: v for entry in trainer.state.log_history for k, v in entry.items()}
    for part in CHAINS[name]:
        (intervention,) = part
        mine = [value for key, value in logged.items() if key.startswith(f"{intervention}/")]
        assert mine
        assert all(math.isfinite(value) for value in mine)


def test_the_dropped_half_is_in_no_denominator(tiny_folder: Path, tmp_path: Path) -> None:
    rows = []
    for zero_weight in ("keep", "drop"):
        given = {"positive": 0.0, "correct": 0.1, "zero_weight": zero_weight}
        trainer = make_trainer(
            EntropyGRPOTrainer,
            tiny_folder,
            tmp_path / zero_weight,
            interventions=[{"w_reinforce": given}],
            max_steps=1,
        )
        trainer.train()
        logged = {k: v for entry in trainer.state.log_history for k, v in entry.items()}
        rows.append(logged)
    kept, dropped = rows
    share = dropped["w_reinforce/dropped"]
    assert 0 < share < 1
    assert "w_reinforce/dropped" not in kept
    # Both have the same completions; without those of weight 0 the same sum is divided by fewer tokens.
    assert abs(dropped["grad_norm"]) > abs(kept["grad_norm"]) > 0
