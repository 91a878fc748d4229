"""Interventions get a reference policy without TRL's KL term, and the exact divergence from it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor

from rlent.interventions import EntropyBand, ForkingTokens, KLAnchor
from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import loss_and_gradients, make_batch, make_trainer

EXACT = [ForkingTokens(fraction=0.5), KLAnchor(weight=0.3)]


def moved(trainer: Any) -> None:
    """Move the policy away from its reference."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    length = batch["completion_ids"].size(1)
    return model(input_ids=ids, attention_mask=mask).logits[:, -length - 1 : -1].log_softmax(-1)


def test_the_reference_is_loaded_without_trls_kl_term(tiny_folder: Path, tmp_path: Path) -> None:
    anchored = make_trainer(
        EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=[KLAnchor(estimator="k3")]
    )
    plain = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=[EntropyBand()])
    assert anchored.ref_model is not None
    assert plain.ref_model is None
    assert anchored.beta == anchored.args.beta == 0.0
    anchored.args.max_steps = 1
    anchored.train()
    names = {name for entry in anchored.state.log_history for name in entry}
    assert "kl_anchor/kl" in names
    assert "kl" not in names


@pytest.mark.parametrize("lora", [False, True])
def test_exact_divergence_is_that_of_full_logits(
    tiny_folder: Path, tmp_path: Path, lora: bool
) -> None:
    options: dict[str, Any] = {"interventions": EXACT, "loss_type": "grpo"}
    if lora:
        options["peft_config"] = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    trainer = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, **options)
    moved(trainer)
    batch = make_batch(trainer, old=True)
    batch["select"] = batch["completion_mask"].bool() & (torch.arange(8) % 2 == 0)
    tokens = trainer._tokens(trainer.model, batch)

    with torch.no_grad():
        current = logits(trainer.model, batch).double()
        if lora:
            with trainer.model.disable_adapter():
                reference = logits(trainer.model, batch).double()
        else:
            reference = logits(trainer.ref_model, batch).double()
    expected = (current.exp() * (current - reference)).sum(-1)
    assert (expected[batch["select"]] > 1e-3).any()
    assert torch.allclose(
        tokens.ref_kl[batch["select"]].double(), expected[batch["select"]], atol=1e-5
    )
    assert not tokens.ref_kl[~batch["select"]].any()


def test_the_anchors_gradient_reaches_the_weights(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=EXACT, loss_type="dapo"
    )
    moved(trainer)
    batch = make_batch(trainer, old=False)
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    batch["select"] = batch["completion_mask"].bool()
    _, gradients = loss_and_gradients(trainer, [batch])

    trainer.model.zero_grad()
    current = logits(trainer.model, batch)
    with torch.no_grad():
        reference = logits(trainer.ref_model, batch)
    kl = (current.exp() * (current - reference)).sum(-1)
    (0.3 * kl[batch["select"]].sum() / batch["num_items_in_batch"]).backward()
    for name, parameter in trainer.model.named_parameters():
        assert torch.allclose(gradients[name], parameter.grad, atol=1e-6), name


def test_a_chain_of_the_four_ideas_trains(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=[
            {"entropy_weighted_reward": {}},
            {"forking_tokens": {"denominator": "all"}},
            {"clip_preserve": {}},
            {"entropy_band": {}},
            {"kl_anchor": {}},
        ],
        num_iterations=2,
        max_steps=4,
    )
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    assert any(
        not torch.equal(value, before[name]) for name, value in trainer.model.named_parameters()
    )
    logged = trainer.state.log_history[0]
    for name in ("entropy_band/below", "kl_anchor/kl", "clip_preserve/keep_low"):
        assert name in logged
