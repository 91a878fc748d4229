"""steer: the weight of every token by plain loops, in the paper's form and in the released one."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.interventions import Steer, chain
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number

GOLDEN = Path(__file__).parents[1] / "golden" / "cases"


def changes_by_loops(config: Steer, tokens: Tokens, signal: Signal) -> dict[tuple[int, int], float]:
    """``|Omega|`` of the tokens that are weighted."""
    assert tokens.old_entropy is not None
    changes = {}
    for row, place in tokens.mask.nonzero().tolist():
        logp, entropy = tokens.logp[row, place].item(), tokens.old_entropy[row, place].item()
        advantage = signal.advantage[row, place].item()
        ratio, pi = math.exp(logp - tokens.old_logp[row, place].item()), math.exp(logp)
        clipped = ratio > 1.28 if advantage > 0 else ratio < 0.8
        if config.as_released or not clipped:
            shape = (1 - pi) if config.as_released else pi * (1 - pi)
            changes[row, place] = abs(ratio * advantage * shape * (logp + entropy))
    return changes


def weight_by_formula(config: Steer, change: float, changes: list[float]) -> float:
    most, least = max(changes), min(changes)
    if config.shape == "linear":
        share = (change - least) / (most - least)
        return config.max_weight - share * (config.max_weight - config.min_weight)
    most = max(most, 0.02) if config.as_released else most
    return config.min_weight ** (change / most)


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize(("shape", "most"), [("exponential", 1.0), ("linear", 1.2)])
def test_weights_fall_with_the_entropy_change(
    shape: Any, most: float, scale: float, as_released: bool
) -> None:
    tokens = make_tokens(rows=12, length=9, drift=0.5)
    before = make_signal(tokens)
    before = replace(
        before, advantage=scale * before.advantage, weight=torch.full_like(before.weight, 0.5)
    )
    config = Steer(shape=shape, max_weight=most, as_released=as_released)
    after, metrics = chain([config]).on_tokens(tokens, before)
    changes = changes_by_loops(config, tokens, before)
    assert as_released or len(changes) < int(tokens.mask.sum())
    weights = []
    for row, place in tokens.mask.nonzero().tolist():
        expected = 1.0
        if (row, place) in changes:
            expected = weight_by_formula(config, changes[row, place], list(changes.values()))
        assert after.weight[row, place].item() == pytest.approx(0.5 * expected, rel=1e-9)
        weights.append(expected)
    assert number(metrics["steer/weight"]) == pytest.approx(sum(weights) / len(weights))
    mean = sum(changes.values()) / len(changes)
    assert number(metrics["steer/entropy_change"]) == pytest.approx(mean)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_papers_form_is_not_the_released_one_in_the_recorded_cases(case: int) -> None:
    """The weights of the paper's form were recorded beside the released ones, at the released ``w_min``."""
    entries = json.loads((GOLDEN / f"steer_exp_{case}.json").read_text())
    inputs = {
        name: torch.tensor(entries["inputs"][name]["data"]).double()
        for name in ("logp", "old_logp", "old_entropy", "advantages", "mask")
    }
    tokens = make_tokens(*inputs["mask"].shape)
    signal = make_signal(tokens)  # clip 0.2 / 0.28, as recorded
    advantage, mask = inputs.pop("advantages"), inputs.pop("mask").bool()
    tokens = replace(tokens, mask=mask, **inputs)
    signal = replace(signal, advantage=advantage)
    config = Steer(min_weight=entries["hyperparameters"]["w_min"])
    weight = config.on_tokens(tokens, signal)[0].weight[mask]
    paper = torch.tensor(entries["checks"][1]["independent_values"]["token_weights"]["data"])
    released = torch.tensor(entries["outputs"]["token_weights"]["data"])
    torch.testing.assert_close(weight, paper.double()[mask], rtol=1e-6, atol=1e-6)
    assert (released.double()[mask] - weight).abs().max() > 0.1


@pytest.mark.parametrize("as_released", [False, True])
def test_without_any_change_the_weights_are_equal(as_released: bool) -> None:
    tokens = make_tokens()
    nothing = replace(make_signal(tokens), advantage=torch.zeros_like(tokens.old_logp))
    after, _ = Steer(as_released=as_released).on_tokens(tokens, nothing)
    assert (after.weight == 1).all()
    linear = Steer(shape="linear", min_weight=0.8, max_weight=1.3, as_released=as_released)
    after, _ = linear.on_tokens(tokens, nothing)
    assert after.weight[tokens.mask].tolist() == pytest.approx([1.05] * int(tokens.mask.sum()))


def test_a_clipped_token_keeps_its_weight_and_sets_no_maximum() -> None:
    tokens = make_tokens(1, 3, mask=torch.ones(1, 3, dtype=torch.bool))
    logp = torch.tensor([[-1.0, -1.0, -1.0]], dtype=torch.float64)
    old = torch.tensor([[-4.0, -1.0, -1.1]], dtype=torch.float64)
    tokens = replace(tokens, logp=logp, old_logp=old, old_entropy=torch.full_like(old, 2.0))
    signal = replace(make_signal(tokens), advantage=torch.ones_like(old))
    first, second, third = Steer().on_tokens(tokens, signal)[0].weight[0].tolist()
    assert (first, third) == (1.0, pytest.approx(0.7))
    assert second == pytest.approx(0.7 ** math.exp(-0.1))


@pytest.mark.parametrize(
    "given",
    [
        {"min_weight": 0.0},
        {"min_weight": 1.1},
        {"max_weight": 0.5, "shape": "linear"},
        {"max_weight": math.inf, "shape": "linear"},
        {"max_weight": 1.2},
    ],
)
def test_steer_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Steer(**given)


def test_needs() -> None:
    assert Steer().needs == {"old_entropy"}
