"""edge_grpo: the factor of every completion by plain loops, and the loss that was recorded for the clean formula."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.errors import ConfigError
from rlent.interventions import ClipHigher, EdgeGRPO, Mean, chain
from rlent.objective import build_objective
from rlent.reduce import LOCAL, Reduce
from rlent.types import Tokens
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number, rows
from tests.ranks import on_ranks

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


def released_by_loops(
    tokens: Tokens, advantage: torch.Tensor, weight: torch.Tensor, low: float, high: float
) -> tuple[float, list[list[float]], list[list[float]]]:
    """Loss over the tokens of the micro-batch, and its gradients by log-probability and by entropy."""
    rows, length = tokens.mask.shape
    places = [tokens.mask[row].nonzero().flatten().tolist() for row in range(rows)]
    means = [
        sum(tokens.entropy[row, t].item() for t in own) / len(own) if own else math.nan
        for row, own in enumerate(places)
    ]
    counted = [mean for mean in means if not math.isnan(mean)]
    total = sum(map(len, places))
    loss = 0.0
    by_logp, by_entropy = ([[0.0] * length for _ in range(rows)] for _ in range(2))
    for row, own in enumerate(places):
        if not own:
            continue
        scaled = advantage[row, 0].item() * sum(counted) / len(counted) / means[row]
        of_row = 0.0
        for t in own:
            ratio = math.exp(tokens.logp[row, t].item() - tokens.old_logp[row, t].item())
            clipped = min(max(ratio, low), high)
            share = weight[row, t].item() / total
            of_row -= share * min(ratio * scaled, clipped * scaled)
            if ratio * scaled <= clipped * scaled:
                by_logp[row][t] = -share * ratio * scaled
        loss += of_row
        for t in own:
            by_entropy[row][t] = -of_row / means[row] / len(own)
    return loss, by_logp, by_entropy


def test_the_released_form_by_plain_loops() -> None:
    """Rows of several prompts, one of them empty, weights, and ratios on either side of the bounds."""
    tokens = make_tokens(rows=6, length=5, drift=0.5)
    mask = tokens.mask.clone()
    mask[2] = False
    tokens = replace(tokens, mask=mask)
    plain = make_signal(tokens)
    weight = torch.rand(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = replace(plain, weight=weight)
    signal, metrics = EdgeGRPO(as_released=True).on_tokens(tokens, plain)
    step = Step(micro_batches=1, tokens=mask.sum(), max_length=12)
    loss = build_objective("bnpo")(tokens, signal, counted=step, everything=step)
    given = torch.autograd.grad(loss, [tokens.logp, tokens.entropy])
    expected, *gradients = released_by_loops(tokens, plain.advantage, weight, 0.8, 1.28)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    for found, wanted in zip(given, gradients, strict=True):
        assert torch.allclose(found, torch.tensor(wanted, dtype=found.dtype), rtol=1e-9, atol=1e-12)
    assert isinstance(metrics["factor"], Mean)
    assert int(metrics["factor"].count) == 5


def test_the_released_form_compares_the_micro_batches_of_all_ranks() -> None:
    tokens = make_tokens(rows=6, length=5)
    signal = make_signal(tokens)

    def scaled(part: slice, reduce: Reduce) -> torch.Tensor:
        mine = replace(rows(tokens, part), reduce=reduce)
        return EdgeGRPO(as_released=True).on_tokens(mine, rows(signal, part))[0].advantage

    (whole,) = on_ranks([slice(None)], scaled)
    parts = on_ranks([slice(0, 2), slice(2, 6)], scaled)
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.allclose(scaled(slice(0, 2), LOCAL), whole[:2])


def test_what_the_released_gradient_is_computed_from_is_not_changed_later() -> None:
    with pytest.raises(ConfigError, match="changes 'clip_high'"):
        chain([EdgeGRPO(as_released=True), ClipHigher()])
    chain([ClipHigher(), EdgeGRPO(as_released=True)])
    chain([EdgeGRPO(), ClipHigher()])
    assert chain([EdgeGRPO(as_released=True)]).reads_idle_rollouts
    assert not chain([EdgeGRPO()]).reads_idle_rollouts


def test_the_released_form_has_no_power() -> None:
    with pytest.raises(ValueError, match=r"power: 1\.0, but power: 0\.5"):
        EdgeGRPO(power=0.5, as_released=True)


@pytest.mark.parametrize("power", [-1.0, math.inf, math.nan])
def test_edge_grpo_refuses(power: Any) -> None:
    with pytest.raises(ValueError, match="power"):
        EdgeGRPO(power=power)


def test_needs() -> None:
    assert EdgeGRPO().needs == {"old_entropy", "whole_groups"}
    assert EdgeGRPO(as_released=True).needs == {"entropy_grad", "plain_clipping"}
