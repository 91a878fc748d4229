"""Vision-language models: TRL's layout of images, the token head over them, and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from rlent.errors import ConfigError
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.head import install_token_head
from tests.tiny_vlm import Family, picture, tiny_processor, tiny_vlm

FAMILIES: list[Family] = ["llava", "qwen2_5_vl"]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
CHAIN = [
    {"ares_reward": {"strength": 0.1, "quantile": 0.5, "target": "batch", "correct": 0.2}},
    "forking_tokens",
    {"ares_kl": {"window": 2, "quantile": 0.5}},
]


def digits(completions: list[Any], **_: Any) -> list[float]:
    words = [completion[0]["content"].split() for completion in completions]
    return [sum(word.isdigit() for word in row) / max(len(row), 1) for row in words]


def examples() -> Dataset:
    """Prompts with one or two pictures, in TRL's layout."""
    prompts = [[{"role": "user", "content": "1 + 1 ="}], [{"role": "user", "content": "so what"}]]
    return Dataset.from_dict(
        {
            "prompt": prompts * 4,
            "images": [[picture(COLOURS[row % 4])] * (1 + row % 2) for row in range(8)],
        }
    )


def make_trainer(family: Family, folder: Path, **options: Any) -> EntropyGRPOTrainer:
    interventions = options.pop("interventions", CHAIN)
    arguments = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 1,
        "max_completion_length": 8,
        "use_cpu": True,
        "report_to": [],
        "bf16": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "learning_rate": 1e-2,
        "activation_checkpointing": False,
        "seed": 3,
        "max_steps": 3,
        "rollout_engine": "transformers",
        **options,
    }
    tiny_vlm(family).save_pretrained(folder / "model")
    return EntropyGRPOTrainer(
        str(folder / "model"),
        digits,
        EntropyGRPOConfig(str(folder), **arguments),
        train_dataset=examples(),
        processing_class=tiny_processor(family),
        interventions=interventions,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vision_language_model_trains(family: Family, tmp_path: Path) -> None:
    trainer = make_trainer(family, tmp_path)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    assert len(steps) == 3
    for row in steps:
        assert all(math.isfinite(value) for value in row.values())
        assert 0 < row["ares_kl/inside"] < 1
    for row in steps[::2]:  # a generation batch is for two steps
        assert row["ares_reward/count"] > 0
        assert 0.2 <= row["forking_tokens/kept_share"] < 0.3
        assert "saved/rollouts" not in row
    assert steps[1]["ares_kl/kl"] > 0
    moved = [n for n, w in trainer.model.named_parameters() if not torch.equal(w, before[n])]
    assert any("vision" in name or "visual" in name for name in moved)
    assert any("language_model" in name for name in moved)


def seen(family: Family, colour: tuple[int, int, int]) -> dict[str, Tensor]:
    """One prompt with a picture, and an answer."""
    processor: Any = tiny_processor(family)
    content = [{"type": "image"}, {"type": "text", "text": "1 + 1 = so 2 then 3"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}])
    return dict(processor(images=[picture(colour)], text=[text], return_tensors="pt"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_gives_what_the_models_own_logits_give(family: Family) -> None:
    model, inputs = tiny_vlm(family).eval(), seen(family, COLOURS[0])
    with torch.no_grad():
        logits = model(**inputs).logits[:, :-1].double() / 0.7
        install_token_head(model, temperature=0.7)
        output = model(**inputs, labels=inputs["input_ids"], fused_lm_head=True)
        other = model(**seen(family, COLOURS[1]), labels=inputs["input_ids"], fused_lm_head=True)
    logp = logits.log_softmax(-1)
    chosen = logp.gather(-1, inputs["input_ids"][:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(output.log_probs.double(), chosen, rtol=1e-4, atol=1e-4)
    entropy = -(logp.exp() * logp).sum(-1)
    torch.testing.assert_close(output.entropy.double(), entropy, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(output.log_probs, other.log_probs, atol=1e-3)


def test_rlents_engine_refuses_images_by_the_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a model of text alone") as raised:
        make_trainer("llava", tmp_path, rollout_engine="native")
    assert raised.value.remedy == "rollout.engine: transformers"


def test_micro_batches_with_images_are_not_split(tmp_path: Path) -> None:
    trainer = make_trainer("llava", tmp_path, tokens_per_micro_batch=40)
    with pytest.raises(ConfigError, match="with images cannot be run in parts"):
        trainer.train()


def test_completions_with_images_are_not_given_up(tmp_path: Path) -> None:
    trainer = make_trainer("llava", tmp_path, interventions=["dynamic_sampling"])
    with pytest.raises(ConfigError, match="text-only"):
        trainer.train()
