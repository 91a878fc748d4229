"""The model and its training, for a few steps."""

import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from rlent.small import draw_question, small_tokenizer, work, write_small_model
from rlent.small.task import OPERATIONS
from rlent.small.warm_start import IGNORED, draw_batch, new_model, teach


def weights(folder: Path, *, steps: int, seed: int) -> dict[str, torch.Tensor]:
    write_small_model(folder, steps=steps, seed=seed)
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls() -> None:
    model = new_model(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = teach(model, steps=15, seed=0)
    assert len(losses) == 15
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert not same(before, model.state_dict())


def test_the_size() -> None:
    model = new_model(0)
    assert 1_000_000 <= sum(weight.numel() for weight in model.parameters()) <= 3_000_000
    assert model.dtype == torch.float32
    assert model.config.vocab_size == len(small_tokenizer())


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    first = weights(tmp_path / "first", steps=2, seed=0)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    again = weights(tmp_path / "again", steps=2, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(first, again)
    assert not same(first, weights(tmp_path / "other", steps=2, seed=1))


def test_the_saved_model_knows_its_end(tmp_path: Path) -> None:
    write_small_model(tmp_path / "model", steps=1)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = small_tokenizer()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_only_workings_are_learned() -> None:
    ids, labels = draw_batch(random.Random(0))
    tokenizer = small_tokenizer()
    rng = random.Random(0)
    for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
        question = draw_question(rng, rng.choice(OPERATIONS))
        working = f"{work(question, rng)} <eos>"
        learned = [token for token, wanted in zip(row, label, strict=True) if wanted != IGNORED]
        assert learned == [wanted for wanted in label if wanted != IGNORED]
        assert tokenizer.decode(learned) == working
        rest = [token for token, wanted in zip(row, label, strict=True) if wanted == IGNORED]
        assert tokenizer.decode(rest, skip_special_tokens=True) == question.text
        assert row[: len(question.text.split())] == rest[: len(question.text.split())]
