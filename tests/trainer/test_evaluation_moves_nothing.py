"""Records of an evaluation say so, and what interventions carry is what training alone has made of it."""

from pathlib import Path

from datasets import Dataset

from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import PROMPTS, make_trainer

CHAIN = [
    {"ares_reward": {"strength": 0.2, "momentum": 0.5}},
    {"ares_kl": {"window": 2, "momentum": 0.5}},
]


def test_evaluations_between_updates_leave_no_trace(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=CHAIN,
        max_steps=2,
        steps_per_generation=2,
        gradient_accumulation_steps=1,
    )
    trainer.train()
    before = trainer.chain.state_dict()
    assert before["ares_reward"]["threshold"] is not None
    assert before["ares_kl"]["steps"] == 2
    metrics = trainer.evaluate(Dataset.from_dict({"prompt": PROMPTS * 2}))
    assert metrics["eval_ares_kl/kl"] > 0
    assert metrics["eval_ares_reward/threshold"] > 0
    assert trainer.chain.state_dict() == before
