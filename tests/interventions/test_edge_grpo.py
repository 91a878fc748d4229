"""edge_grpo: the factor of every completion by plain loops, and the loss that was recorded for the clean formula."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.interventions import EdgeGRPO, chain
from rlent.objective import build_objective
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number

GOLDEN = Path(__file__).parents[1] / "golden" / "cases"


def factors_by_loops(entropy: torch.Tensor, mask: torch.Tensor, group: list[int]) -> list[float]:
    means = []
    for row in range(len(mask)):
        values = [entropy[row, p].item() for p in mask[row].nonzero().flatten().tolist()]
        means.append(sum(values) / len(values) if values else math.nan)
    factors = []
    for row, mean in enumerate(means):
        others = [
            m for m, g in zip(means, group, strict=True) if g == group[row] and not math.isnan(m)
        ]
        factors.append(sum(others) / len(others) / mean if others else 1.0)
    return factors


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_sure_completions_get_the_larger_advantage(power: float) -> None:
    tokens = make_tokens(rows=8, length=9)
    group = torch.tensor([5, 5, 5, 2, 2, 2, 7, 7])
    rollouts = replace(make_rollouts(tokens), group=group)
    advantage = make_signal(tokens).advantage
    after, metrics = chain([EdgeGRPO(power=power)]).on_advantages(rollouts, advantage)
    assert rollouts.old_entropy is not None
    factors = factors_by_loops(rollouts.old_entropy, rollouts.mask, group.tolist())
    for row, factor in enumerate(factors):
        expected = advantage[row] * factor**power
        torch.testing.assert_close(after[row], expected, rtol=1e-12, atol=1e-14)
    mean = number(metrics["edge_grpo/factor"])
    assert mean == pytest.approx(sum(f**power for f in factors) / 8)


def test_a_completion_without_tokens_is_in_no_mean() -> None:
    tokens = make_tokens(rows=4, length=5)
    mask = tokens.mask.clone()
    mask[1] = False
    rollouts = replace(make_rollouts(tokens), mask=mask)
    one = torch.ones(4, 5, dtype=torch.float64)
    after, _ = EdgeGRPO().on_advantages(rollouts, one)
    assert after[:2].tolist() == [[pytest.approx(1.0)] * 5] * 2


def test_a_certain_completion_divides_by_no_zero() -> None:
    tokens = make_tokens(rows=2, length=5)
    rollouts = replace(make_rollouts(tokens), old_entropy=torch.zeros_like(tokens.old_logp))
    after, _ = EdgeGRPO().on_advantages(rollouts, torch.ones_like(tokens.old_logp))
    assert (after == 1).all()


@pytest.mark.parametrize(("case", "loss_type"), [(0, "bnpo"), (2, "grpo")])
def test_the_loss_is_the_recorded_one_of_the_clean_formula(case: int, loss_type: str) -> None:
    """Padding without influence and entropy as a constant; the released loss is another."""
    entries = json.loads((GOLDEN / f"edge_grpo_{case}.json").read_text())
    given, inputs = entries["hyperparameters"], entries["inputs"]
    assert given["loss_type"] == loss_type
    tensors = {name: torch.tensor(entry["data"]).double() for name, entry in inputs.items()}
    mask = tensors["mask"].bool()
    tokens = replace(
        make_tokens(*mask.shape, mask=mask),
        logp=tensors["logp"].requires_grad_(),
        old_logp=tensors["old_logp"],
        old_entropy=tensors["entropy"],
        group=torch.zeros(len(mask), dtype=torch.long),
    )
    before = make_signal(tokens, low=1 - given["clip_low"], high=1 + given["clip_high"])
    advantage = tensors["advantages_1d"].unsqueeze(1).expand_as(mask)
    advantage, _ = EdgeGRPO().on_advantages(make_rollouts(tokens), advantage)
    signal = replace(before, advantage=advantage)
    step = Step(micro_batches=1, tokens=mask.sum(), max_length=12)
    loss = build_objective(loss_type)(tokens, signal, counted=step, everything=step)
    (gradient,) = torch.autograd.grad(loss, tokens.logp)
    clean = entries["checks"][1]["independent_values"]
    assert loss.item() == pytest.approx(clean["loss"]["data"], rel=1e-7)
    expected = torch.tensor(clean["grad_logp"]["data"]).double()
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-7)
    assert loss.item() != pytest.approx(entries["outputs"]["loss"]["data"], rel=1e-2)


@pytest.mark.parametrize("power", [-1.0, math.inf, math.nan])
def test_edge_grpo_refuses(power: Any) -> None:
    with pytest.raises(ValueError, match="power"):
        EdgeGRPO(power=power)


def test_needs() -> None:
    assert EdgeGRPO().needs == {"old_entropy", "whole_groups"}
