"""Likelihood of prompts: the term in plain Python, its average under every loss type, and in the trainer."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trl.trainer.utils import split_tensor_dict

from rlent.aggregate import Step
from rlent.errors import ConfigError
from rlent.interventions import NextTokenLoss, chain
from rlent.objective import LOSS_TYPES, build_objective
from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.batches import prompt_scores
from rlent.types import Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.trainer.helpers import loss_and_gradients, make_batch, make_trainer


def mean_surprise(tokens: Tokens) -> float:
    """Mean over completions of the mean over the prompt, of completions without tokens 0."""
    assert tokens.prompt_logp is not None
    assert tokens.prompt_mask is not None
    total = 0.0
    for logp, shown, mask in zip(tokens.prompt_logp, tokens.prompt_mask, tokens.mask, strict=True):
        found = [-value.item() for value, is_shown in zip(logp, shown, strict=True) if is_shown]
        if found and mask.any():
            total += sum(found) / len(found)
    return total / len(tokens.mask)


def added(loss_type: str, tokens: Tokens, step: Step, weight: float) -> Tensor:
    """What the intervention adds to the loss of one micro-batch."""
    objective = build_objective(loss_type)
    tokens = replace(tokens, per_completion=objective.per_completion(tokens, step))
    before = make_signal(tokens)
    after, _ = chain([NextTokenLoss(weight=weight)]).on_tokens(tokens, before)
    with_term, without = (
        objective(tokens, signal, counted=step, everything=step) for signal in (after, before)
    )
    return with_term - without


@pytest.mark.parametrize("sequences", [None, 3.0])
@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_loss_gains_the_mean(
    loss_type: str, micro_batches: int, sequences: float | None
) -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    tokens = make_tokens(5, 4, mask=mask.bool(), seed=3)
    assert tokens.prompt_mask is not None
    tokens.prompt_mask[3] = False
    counted = None if sequences is None else torch.tensor(sequences)
    step = Step(
        micro_batches=micro_batches, tokens=torch.tensor(23.0), max_length=9, sequences=counted
    )
    expected = 0.4 * mean_surprise(tokens) * 5 / (sequences or 5) / micro_batches
    assert added(loss_type, tokens, step, 0.4).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_gradient_is_each_prompt_tokens_share(loss_type: str) -> None:
    tokens = make_tokens(4, 5, seed=1)
    assert tokens.prompt_logp is not None
    assert tokens.prompt_mask is not None
    step = Step(micro_batches=2, tokens=torch.tensor(31.0), max_length=8)
    (gradient,) = torch.autograd.grad(added(loss_type, tokens, step, 0.2), tokens.prompt_logp)
    for row in range(4):
        count = int(tokens.prompt_mask[row].sum())
        for place in range(3):
            shown = bool(tokens.prompt_mask[row, place])
            expected = -0.2 / count / 4 / 2 if shown else 0.0
            assert gradient[row, place].item() == pytest.approx(expected, rel=1e-5)


def test_the_metric_is_the_mean_over_prompt_tokens() -> None:
    tokens = make_tokens(seed=2)
    assert tokens.prompt_logp is not None
    assert tokens.prompt_mask is not None
    _, metrics = chain([NextTokenLoss()]).on_tokens(tokens, make_signal(tokens))
    found: Any = metrics["next_token_loss/nll"]
    shown = [
        -value.item()
        for values, mask in zip(tokens.prompt_logp, tokens.prompt_mask, strict=True)
        for value, is_shown in zip(values, mask, strict=True)
        if is_shown
    ]
    assert float(found.total) == pytest.approx(sum(shown))
    assert int(found.count) == len(shown)


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_bad_weights(weight: float) -> None:
    with pytest.raises(ValueError, match="weight must be"):
        NextTokenLoss(weight=weight)


def trainer_and_batch(model: Path, folder: Path, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    trainer = make_trainer(EntropyGRPOTrainer, model, folder, **options)
    return trainer, make_batch(trainer, old=True)


def test_prompts_are_scored_as_the_model_does(tiny_folder: Path, tmp_path: Path) -> None:
    trainer, batch = trainer_and_batch(tiny_folder, tmp_path, interventions=[NextTokenLoss()])
    plain, _ = trainer_and_batch(tiny_folder, tmp_path)
    tokens, without = (each._tokens(each.model, batch) for each in (trainer, plain))
    assert without.prompt_logp is None
    torch.testing.assert_close(tokens.logp, without.logp)
    torch.testing.assert_close(tokens.entropy, without.entropy)
    with torch.no_grad():
        logits = trainer.model(
            input_ids=batch["prompt_ids"], attention_mask=batch["prompt_mask"]
        ).logits
    for row in range(8):
        start = 2 if row == 1 else 0
        shown = [place > start for place in range(1, 4)]
        assert tokens.prompt_mask[row].tolist() == shown
        for place in range(start + 1, 4):
            scores = logits[row, place - 1].double().log_softmax(-1)
            expected = scores[batch["prompt_ids"][row, place]].item()
            assert tokens.prompt_logp[row, place - 1].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("loss_type", [name for name in LOSS_TYPES if name != "bnpo"])
def test_the_split_into_micro_batches_does_not_matter(
    loss_type: str, tiny_folder: Path, tmp_path: Path
) -> None:
    found = []
    for parts in (1, 2, 4):
        trainer, batch = trainer_and_batch(
            tiny_folder,
            tmp_path / str(parts),
            loss_type=loss_type,
            per_device_train_batch_size=8 // parts,
            gradient_accumulation_steps=parts,
            interventions=[NextTokenLoss(weight=3.0)],
        )
        split: Any = split_tensor_dict({**batch}, parts)
        found.append(loss_and_gradients(trainer, split))
    (loss, gradients), *others = found
    for other_loss, other in others:
        torch.testing.assert_close(other_loss, loss, rtol=1e-4, atol=1e-5)
        for name, values in gradients.items():
            torch.testing.assert_close(other[name], values, rtol=1e-3, atol=1e-5)


def test_training_makes_prompts_more_likely(tiny_folder: Path, tmp_path: Path) -> None:
    trainer, _ = trainer_and_batch(
        tiny_folder,
        tmp_path,
        interventions=[NextTokenLoss(weight=1.0)],
        max_steps=6,
        learning_rate=1e-2,
    )
    trainer.train()
    name = "next_token_loss/nll"
    seen = [entry[name] for entry in trainer.state.log_history if name in entry]
    assert len(seen) == 6
    assert seen[-1] < seen[0] - 0.3


def test_another_temperature_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"temperature to 1\.0"):
        trainer_and_batch(tiny_folder, tmp_path, interventions=[NextTokenLoss()], temperature=0.7)


def test_images_are_refused() -> None:
    batch = {"prompt_mask": torch.ones(1, 2), "pixel_values": torch.ones(1)}
    with pytest.raises(ConfigError, match="without images"):
        prompt_scores(batch, torch.zeros(1, 4))
