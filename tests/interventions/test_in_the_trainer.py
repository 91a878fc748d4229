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
    "archer": [{"archer": {}}, {"clip_cov": {"as_released": True, "low": 0.0}}],
    "aspo": [{"aspo": {}}, {"adaptive_entropy": {"initial": 0.003, "target": 9.0}}],
    "bapo": [{"bapo": {}}, {"entropy_bonus": {}}],
    "kl_cov": [{"kl_cov": {"share": 0.1}}],
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
