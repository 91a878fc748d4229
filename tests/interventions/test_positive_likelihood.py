"""positive_likelihood: the term by plain loops, whatever the split into micro-batches."""

import math
from dataclasses import replace

import pytest
import torch

from rlent.aggregate import Step
from rlent.interventions import PositiveLikelihood, chain
from rlent.objective import build_objective
from rlent.types import Signal, Tokens
from tests.interventions.examples import everything, make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import rows


def term_by_loops(tokens: Tokens, weight: float, correct: float = 0.5) -> float:
    surprises = [
        -tokens.logp[row, place].item()
        for row, place in tokens.mask.nonzero().tolist()
        if tokens.reward[row] > correct
    ]
    return weight * sum(surprises) / max(len(surprises), 1)


def loss_of(tokens: Tokens, signal: Signal, all_tokens: torch.Tensor) -> torch.Tensor:
    step = Step(micro_batches=1, tokens=all_tokens, max_length=7)
    nothing = replace(signal, select=torch.zeros_like(signal.select))
    return build_objective("dapo")(tokens, nothing, counted=step, everything=step)


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("rewards", [[1, 0, 1, 1, 0, 0, math.nan, 1], [0] * 8, [1] * 8])
def test_the_term_is_a_mean_over_correct_tokens(rewards: list[float], parts: int) -> None:
    tokens = make_tokens(rows=8)
    tokens = replace(tokens, reward=torch.tensor(rewards, dtype=torch.float64))
    links = chain([PositiveLikelihood(weight=0.3)])
    _, metrics = links.on_select(make_rollouts(tokens), everything(tokens.mask))
    total, size = torch.zeros((), dtype=torch.float64), 8 // parts
    for start in range(0, 8, size):
        part = rows(tokens, slice(start, start + size))
        signal, _ = links.on_tokens(part, make_signal(part))
        total = total + loss_of(part, signal, tokens.mask.sum())
    assert total.item() == pytest.approx(term_by_loops(tokens, 0.3), abs=1e-12)
    share = metrics["positive_likelihood/correct_tokens"]
    right = sum(int(m.sum()) for m, r in zip(tokens.mask, rewards, strict=True) if r > 0.5)
    assert (int(share.total), int(share.count)) == (right, int(tokens.mask.sum()))  # type: ignore[union-attr]


def test_the_gradient_reaches_correct_tokens_alone() -> None:
    tokens = replace(make_tokens(), reward=torch.tensor([1.0, 0.2, 0.7, 0.0], dtype=torch.float64))
    links = chain([PositiveLikelihood(weight=1.0, correct=0.6)])
    links.on_select(make_rollouts(tokens), everything(tokens.mask))
    signal, metrics = links.on_tokens(tokens, make_signal(tokens))
    loss_of(tokens, signal, tokens.mask.sum()).backward()
    correct = tokens.mask & torch.tensor([True, False, True, False]).unsqueeze(1)
    assert tokens.logp.grad is not None
    assert torch.equal(tokens.logp.grad != 0, correct)
    assert torch.allclose(tokens.logp.grad[correct], torch.tensor(-1.0).double() / correct.sum())
    nll = metrics["positive_likelihood/nll"]
    assert float(nll.total) / float(nll.count) == pytest.approx(term_by_loops(tokens, 1.0, 0.6))  # type: ignore[union-attr]


def test_it_adds_to_what_others_penalise() -> None:
    tokens = make_tokens()
    before = replace(make_signal(tokens), penalty=torch.ones_like(tokens.logp))
    links = chain([PositiveLikelihood()])
    links.on_select(make_rollouts(tokens), everything(tokens.mask))
    after, _ = links.on_tokens(tokens, before)
    wrong = ~(tokens.mask & (tokens.reward > 0.5).unsqueeze(1))
    assert (after.penalty[wrong] == 1).all()
    assert (after.penalty[~wrong] > 1).all()


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        PositiveLikelihood(weight=-0.1)
