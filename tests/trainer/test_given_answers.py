"""The trainers for given answers: against TRL's own, over splits of a step, with scores, teachers and adapters."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from rlent.errors import ConfigError, NonFiniteError
from rlent.losses import CDPO, TDPO, AlignDistil, DiversityOrPrecision
from rlent.trainer.dpo_trainer import TokenDPOTrainer
from rlent.trainer.loss_config import TokenDPOConfig, TokenSFTConfig
from rlent.trainer.sft_trainer import TokenSFTTrainer, one_late
from tests.tiny import save_tiny_model, tiny_model, tiny_tokenizer

PAIRS = [
    ("what is 1 + 2 ?", " so the answer is 3", " hence 4"),
    ("what is 2 + 2 ?", " so 4", " hence the answer is 5 but wait"),
    ("3 - 1 =", " 2", " then 3"),
    ("is the answer 5 ?", " wait what is 5 ?", " so"),
]
PREFERENCES = Dataset.from_list(
    [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS * 2]
)
COMPLETIONS = Dataset.from_list([{"prompt": a, "completion": b} for a, b, _ in PAIRS * 2])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp(f"other_{seed}")
        tiny_model(seed=seed).save_pretrained(folder)
        folders.append(str(folder))
    return folders[0], folders[1]


def settings(folder: Path, **options: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "disable_tqdm": True,
        **options,
    }


def trained(trainer: Any) -> tuple[list[dict[str, float]], list[torch.Tensor]]:
    trainer.train()
    logs = [row for row in trainer.state.log_history if "loss" in row]
    return logs, [weight.detach().clone() for weight in trainer.model.parameters()]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def dpo(model: str, folder: Path, loss: Any, **options: Any) -> TokenDPOTrainer:
    further = {name: options.pop(name) for name in ("peft_config",) if name in options}
    return TokenDPOTrainer(
        model,
        loss=loss,
        args=TokenDPOConfig(**settings(folder, **options)),
        train_dataset=PREFERENCES,
        processing_class=tiny_tokenizer(),
        **further,
    )


def sft(model: str, folder: Path, loss: Any, **options: Any) -> TokenSFTTrainer:
    return TokenSFTTrainer(
        model,
        loss=loss,
        args=TokenSFTConfig(**settings(folder, **options)),
        train_dataset=COMPLETIONS,
        processing_class=tiny_tokenizer(),
    )


@pytest.mark.parametrize("accumulation", [1, 2])
def test_tdpo2_without_alpha_trains_as_trls_dpo(
    model: str, tmp_path: Path, accumulation: int
) -> None:
    options = {"gradient_accumulation_steps": accumulation, "per_device_train_batch_size": 2}
    ours, weights = trained(dpo(model, tmp_path, TDPO(alpha=0.0), **options))
    theirs, expected = trained(
        DPOTrainer(
            model,
            args=DPOConfig(**settings(tmp_path, **options)),
            train_dataset=PREFERENCES,
            processing_class=tiny_tokenizer(),
        )
    )
    assert_equal(weights, expected)
    for name in ("loss", "rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/chosen"):
        given = [row[name] for row in ours]
        assert given == pytest.approx([row[name] for row in theirs], rel=1e-3, abs=1e-5)


def test_the_default_of_diversity_or_precision_trains_as_trls_sft(
    model: str, tmp_path: Path
) -> None:
    options = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    ours, weights = trained(sft(model, tmp_path, DiversityOrPrecision(), **options))
    theirs, expected = trained(
        SFTTrainer(
            model,
            args=SFTConfig(**settings(tmp_path, **options)),
            train_dataset=COMPLETIONS,
            processing_class=tiny_tokenizer(),
        )
    )
    assert_equal(weights, expected)
    assert [row["loss"] for row in ours] == pytest.approx([row["loss"] for row in theirs], rel=1e-4)


def test_a_step_does_not_depend_on_how_it_is_split(
    model: str, others: tuple[str, str], tmp_path: Path
) -> None:
    """The mean over sequences, of micro-batches of other widths."""
    loss = AlignDistil(dpo_model=others[0], reverse_model=others[1])
    whole, weights = trained(sft(model, tmp_path, loss, per_device_train_batch_size=4))
    split, others_ = trained(
        sft(model, tmp_path, loss, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    )
    assert_equal(weights, others_)
    for name in ("loss", "align_distil/teacher_kl", "align_distil/push", "entropy"):
        given = [row[name] for row in split]
        assert given == pytest.approx([row[name] for row in whole], rel=1e-3)


@pytest.mark.parametrize("loss", [TDPO(variant=1), TDPO()])
def test_an_adapters_reference_is_the_model_without_it(
    model: str, tmp_path: Path, loss: TDPO
) -> None:
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    trainer = dpo(model, tmp_path, loss, peft_config=lora)
    assert trainer.ref_model is None
    logs, _ = trained(trainer)
    assert logs[0]["tdpo/kl_chosen"] == pytest.approx(0, abs=1e-6)
    assert logs[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert logs[-1]["tdpo/kl_rejected"] > 1e-6


def test_scores_are_the_contrast_of_the_two_models_at_the_rejected_tokens(
    model: str, others: tuple[str, str], tmp_path: Path
) -> None:
    trainer = dpo(model, tmp_path, CDPO(positive=others[0], negative=others[1]))
    loaded = [AutoModelForCausalLM.from_pretrained(name) for name in others]
    for row in trainer.train_dataset:
        ids = torch.tensor([row["prompt_ids"] + row["rejected_ids"]])
        with torch.no_grad():
            positive, negative = (each(ids).logits[0] for each in loaded)
        probabilities = torch.softmax(2 * positive - negative, -1)
        start = len(row["prompt_ids"])
        expected = [probabilities[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])]
        assert row["rejected_scores"] == pytest.approx(expected, rel=1e-4)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    mask = batch["completion_mask"].chunk(2)[1][:, 1:].bool()
    placed = [
        row[flags].tolist() for row, flags in zip(batch["rejected_scores"], mask, strict=True)
    ]
    assert placed == [pytest.approx(trainer.train_dataset[i]["rejected_scores"]) for i in range(3)]
    assert not batch["rejected_scores"][~mask].any()
    logs, _ = trained(trainer)
    assert 0 < logs[0]["cdpo/score"] < 1


def test_the_released_end_token_has_no_score(
    model: str, others: tuple[str, str], tmp_path: Path
) -> None:
    loss = CDPO(positive=others[0], negative=others[1], as_released=True)
    rows = dpo(model, tmp_path, loss).train_dataset
    assert {row["rejected_scores"][-1] for row in rows} == {0.0}
    assert all(min(row["rejected_scores"][:-1]) > 0 for row in rows)


def test_the_released_mask_of_align_distil_looks_one_position_late(
    model: str, others: tuple[str, str], tmp_path: Path
) -> None:
    batch = {
        "input_ids": torch.tensor([[7, 8, 9, 1]]),
        "attention_mask": torch.ones(1, 4).long(),
        "labels": torch.tensor([[-100, -100, 9, 1]]),
    }
    late = one_late(batch)
    assert late["labels"].tolist() == [[-100, -100, -100, 9, 1]]
    assert late["attention_mask"].tolist() == [[1, 1, 1, 1, 0]]
    assert late["input_ids"].tolist() == [[7, 8, 9, 1, 0]]
    first = {}
    for released in (False, True):
        loss = AlignDistil(dpo_model=others[0], reverse_model=others[1], as_released=released)
        first[released] = trained(sft(model, tmp_path, loss, max_steps=1))[0][0]["loss"]
    assert first[False] != pytest.approx(first[True], rel=1e-3)


def test_a_resumed_run_is_the_run_that_was_not_stopped(model: str, tmp_path: Path) -> None:
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole, weights = trained(dpo(model, tmp_path / "whole", TDPO(), **options))
    again = dpo(model, tmp_path / "again", TDPO(), **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for one, other in zip(again.model.parameters(), weights, strict=True):
        assert torch.equal(one, other)
    resumed = [row for row in again.state.log_history if "loss" in row]
    assert [row["loss"] for row in resumed] == [row["loss"] for row in whole]


def test_a_loss_that_is_not_finite_stops_the_run(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = sft(model, tmp_path, DiversityOrPrecision())
    honest = trainer.loss.per_token

    def broken(answers: Any) -> Any:
        result = honest(answers)
        result.losses.detach().fill_(math.nan)
        return result

    object.__setattr__(trainer.loss, "per_token", broken)
    with pytest.raises(NonFiniteError):
        trainer.train()
    assert list((tmp_path / "non_finite").glob("*.pt"))


@pytest.mark.parametrize(
    ("config", "option", "value"),
    [
        (TokenDPOConfig, "beta", 0.3),
        (TokenDPOConfig, "loss_type", "ipo"),
        (TokenDPOConfig, "precompute_ref_log_probs", True),
        (TokenSFTConfig, "packing", True),
        (TokenSFTConfig, "loss_type", "dft"),
        (TokenSFTConfig, "label_smoothing_factor", 0.1),
    ],
)
def test_options_that_would_act_behind_the_loss_are_refused(
    config: Any, option: str, value: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"trainer.{option}"):
        config(**settings(tmp_path, **{option: value}))


def test_plain_configurations_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TokenDPOConfig"):
        TokenDPOTrainer(
            model,
            loss=TDPO(),
            args=DPOConfig(**settings(tmp_path)),  # pyright: ignore[reportArgumentType]
            train_dataset=PREFERENCES,
        )


def save_adapter(model: str, folder: Path, config: PeftConfig) -> PeftModel:
    """An adapter on ``model`` that changes it."""
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(str(folder))
    return adapted


def test_an_adapters_folder_is_a_teacher_as_the_merged_model_is(
    model: str, others: tuple[str, str], tmp_path: Path
) -> None:
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    merged: Any = save_adapter(model, tmp_path / "adapter", lora).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    losses = {}
    for teacher in ("adapter", "merged"):
        loss = AlignDistil(dpo_model=others[0], reverse_model=str(tmp_path / teacher))
        losses[teacher] = [row["loss"] for row in trained(sft(model, tmp_path, loss))[0]]
    assert losses["adapter"] == pytest.approx(losses["merged"], rel=1e-4)
    loss = AlignDistil(dpo_model=others[0], reverse_model=model)
    assert trained(sft(model, tmp_path, loss))[0][0]["loss"] != pytest.approx(
        losses["merged"][0], rel=1e-2
    )


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "virtual tokens"),
        (LoraConfig(task_type="CAUSAL_LM", target_modules=["lm_head"]), "output head"),
        (LoraConfig(task_type="CAUSAL_LM", trainable_token_indices=[3]), "output head"),
    ],
)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_adapter_that_cannot_be_a_teacher_is_refused(
    model: str, others: tuple[str, str], tmp_path: Path, adapter: PeftConfig, message: str
) -> None:
    save_adapter(model, tmp_path / "adapter", adapter)
    loss = AlignDistil(dpo_model=others[0], reverse_model=str(tmp_path / "adapter"))
    with pytest.raises(ConfigError, match=message) as caught:
        sft(model, tmp_path, loss)
    assert caught.value.key == "loss.align_distil.reverse_model"


def test_a_teacher_must_have_the_policys_vocabulary(
    model: str, others: tuple[str, str], tmp_path: Path
) -> None:
    other = tiny_model()
    other.resize_token_embeddings(40)
    other.save_pretrained(tmp_path / "other")
    loss = AlignDistil(dpo_model=others[0], reverse_model=str(tmp_path / "other"))
    with pytest.raises(ConfigError, match="another vocabulary") as caught:
        sft(model, tmp_path, loss)
    assert caught.value.key == "loss.align_distil.reverse_model"
