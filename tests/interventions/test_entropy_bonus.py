"""entropy_bonus: its value and gradient by plain loops."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.interventions import EntropyBonus, chain
from rlent.objective import build_objective
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number


@pytest.mark.parametrize("which", ["all", "selected"])
def test_the_loss_falls_by_the_mean_entropy(which: Any) -> None:
    tokens = make_tokens(rows=6)
    before = replace(make_signal(tokens), select=tokens.mask & (tokens.entropy > 0.8))
    before = replace(before, advantage=torch.zeros_like(tokens.old_logp))
    links = chain([EntropyBonus(weight=0.3, tokens=which)])
    after, metrics = links.on_tokens(tokens, before)
    step = Step(micro_batches=1, tokens=tokens.mask.sum(), max_length=7)
    loss = build_objective("dapo")(tokens, after, counted=step, everything=step)
    (gradient,) = torch.autograd.grad(loss, tokens.entropy)
    total, values = int(tokens.mask.sum()), []
    for row, place in tokens.mask.nonzero().tolist():
        acted = which == "all" or tokens.entropy[row, place].item() > 0.8
        if acted:
            values.append(tokens.entropy[row, place].item())
        assert gradient[row, place].item() == pytest.approx(-0.3 / total if acted else 0.0)
    assert len(values) > 0
    assert loss.item() == pytest.approx(-0.3 * sum(values) / total)
    assert (gradient[~tokens.mask] == 0).all()
    mean = number(metrics["entropy_bonus/entropy"])
    assert mean == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_entropy_bonus_refuses(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        EntropyBonus(weight=weight)


def test_needs() -> None:
    assert EntropyBonus().needs == {"entropy_grad"}
