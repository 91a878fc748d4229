"""lopti: which tokens learn in which pass, and that the trainer counts its passes."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.interventions import Lopti, chain
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.needs import check_needs
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number
from tests.trainer.helpers import make_trainer


@pytest.mark.parametrize("first", ["unlikely", "likely"])
@pytest.mark.parametrize("threshold", [0.5, 0.2, 1.0])
def test_the_two_passes_part_the_tokens_by_their_old_probability(
    threshold: float, first: Any
) -> None:
    tokens = make_tokens(6, 8)
    chosen = torch.rand(6, 8, generator=torch.Generator().manual_seed(1)) < 0.7
    signal = replace(make_signal(tokens), select=chosen)
    links = chain([Lopti(threshold=threshold, first=first)])
    passes = [links.on_tokens(replace(tokens, iteration=n), signal) for n in (0, 1)]
    unlikely_tokens = 0
    for row in range(6):
        for place in range(8):
            if not tokens.mask[row, place]:
                continue
            unlikely = math.exp(tokens.old_logp[row, place].item()) < threshold
            unlikely_tokens += unlikely
            turn = 0 if unlikely == (first == "unlikely") else 1
            for n, (after, _) in enumerate(passes):
                expected = chosen[row, place].item() and n == turn
                assert after.select[row, place].item() == expected
    for after, metrics in passes:
        assert after.count is signal.count
        share = number(metrics["lopti/unlikely_share"])
        assert share == pytest.approx(unlikely_tokens / tokens.mask.sum().item())


def test_a_token_at_the_threshold_belongs_to_the_likely_ones() -> None:
    tokens = make_tokens(1, 1, mask=torch.ones(1, 1, dtype=torch.bool))
    half = replace(tokens, old_logp=torch.full_like(tokens.old_logp, 0.5).log())
    selected = [
        Lopti().on_tokens(replace(half, iteration=n), make_signal(half))[0].select.item()
        for n in (0, 1)
    ]
    assert selected == [False, True]


def test_an_evaluation_sees_all_tokens() -> None:
    tokens = replace(make_tokens(), train=False)
    signal = make_signal(tokens)
    assert Lopti().on_tokens(tokens, signal) == (signal, {})


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.1])
def test_lopti_refuses(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Lopti(threshold=threshold)


@pytest.mark.parametrize(
    ("options", "possible"),
    [
        ({}, False),
        ({"num_iterations": 3}, False),
        ({"num_iterations": 2, "gradient_accumulation_steps": 2, "steps_per_generation": 1}, False),
        ({"num_iterations": 2}, True),
        ({"num_iterations": 2, "gradient_accumulation_steps": 2, "steps_per_generation": 4}, True),
    ],
)
def test_it_needs_two_passes_of_whole_steps(
    tmp_path: Path, options: dict[str, Any], possible: bool
) -> None:
    args = EntropyGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **options)
    if possible:
        check_needs(chain([Lopti()]), args)
        return
    with pytest.raises(ConfigError, match="two passes over every generation batch") as raised:
        check_needs(chain([Lopti()]), args)
    assert raised.value.remedy is not None
    assert "trainer.num_iterations to 2" in raised.value.remedy
    check_needs(chain([Lopti(threshold=None)]), args)


class Watched(EntropyGRPOTrainer):
    """Notes what the interventions see and say in every micro-batch."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self.rows = inputs["row"].tolist()
        return super()._compute_loss(model, inputs)

    def _record_token_metrics(self, tokens: Tokens, signal: Signal) -> None:
        super()._record_token_metrics(tokens, signal)
        learns = (signal.select & tokens.mask).sum(1).tolist()
        seen = getattr(self, "seen", [])
        seen.append((tokens.step, tokens.iteration, dict(zip(self.rows, learns, strict=True))))
        self.seen = seen


def test_the_trainer_counts_its_passes(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        Watched,
        tiny_folder,
        tmp_path,
        interventions=[{"lopti": {"threshold": 0.3}}],
        num_iterations=2,
        steps_per_generation=4,
        gradient_accumulation_steps=2,
        per_device_train_batch_size=4,
        max_steps=8,
        skip_idle_rollouts=False,
    )
    trainer.train()
    passes = [(step, iteration) for step, iteration, _ in trainer.seen]
    # Two optimiser steps of two micro-batches for each pass; a generation batch is passed over twice.
    assert passes == [(step, step // 2 % 2) for step in range(8) for _ in range(2)]
    first, second = ({}, {})
    for _, iteration, learns in trainer.seen[:8]:
        (second if iteration else first).update(learns)
    assert first.keys() == second.keys() == set(range(16))
    assert sum(first.values()) > 0
    assert sum(second.values()) > 0
    logged = trainer.state.log_history[0]
    assert 0 < logged["lopti/unlikely_share"] < 1
