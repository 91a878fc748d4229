"""hapo: scaled entropies, bounds and advantages by plain loops, and the recorded loss of the clean formula."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.interventions import HAPO
from rlent.interventions.hapo import scaled_entropy
from rlent.objective import build_objective
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number

GOLDEN = Path(__file__).parents[1] / "golden" / "cases"


def scaled_by_loops(
    entropy: list[list[float]], mask: list[list[bool]], pivot: float
) -> list[list[float]]:
    """The signed scale of every token; 0 where the mask does not hold."""
    logs = [
        [math.log(max(h, 1e-8)) if m else None for h, m in zip(hs, ms, strict=True)]
        for hs, ms in zip(entropy, mask, strict=True)
    ]
    flat = sorted(value for row in logs for value in row if value is not None)
    middle = flat[round(pivot * (len(flat) - 1))]
    highest, lowest = flat[-1] - middle, middle - flat[0]

    def scale(value: float | None) -> float:
        if value is None or value == middle:
            return 0.0
        return (value - middle) / (highest if value > middle else lowest)

    return [[scale(value) for value in row] for row in logs]


@pytest.mark.parametrize("pivot", [0.0, 0.5, 0.8, 1.0])
def test_each_side_of_the_quantile_is_scaled_to_one(pivot: float) -> None:
    tokens = make_tokens(rows=5, length=9, seed=4)
    entropy = tokens.entropy.detach()
    scaled, middle = scaled_entropy(entropy, tokens.mask, pivot)
    expected = scaled_by_loops(entropy.tolist(), tokens.mask.tolist(), pivot)
    torch.testing.assert_close(
        scaled, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12
    )
    ordered = entropy[tokens.mask].sort().values
    assert middle.item() == pytest.approx(ordered[round(pivot * (len(ordered) - 1))].item())


def test_entropy_zero_and_equal_entropies() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    scaled, _ = scaled_entropy(torch.tensor([[0.0, 1.0, 2.0]]).double(), mask, 0.5)
    assert scaled.tolist() == [[-1.0, 0.0, 1.0]]
    same, middle = scaled_entropy(torch.full((1, 3), 0.7).double(), mask, 0.8)
    assert same.tolist() == [[0.0, 0.0, 0.0]]
    assert middle.item() == pytest.approx(0.7)


@pytest.mark.parametrize("as_released", [False, True])
def test_bounds_and_advantages(as_released: bool) -> None:
    tokens = make_tokens(rows=6, length=8, seed=2, drift=0.2)
    before = make_signal(tokens, low=0.7, high=1.3)
    config = HAPO(pivot=0.6, clip=0.5, advantage=0.4, as_released=as_released)
    after, metrics = config.on_tokens(tokens, before)
    scaled = scaled_by_loops(tokens.entropy.tolist(), tokens.mask.tolist(), 0.6)
    branches, changes, unsure = set(), [], 0
    for row, column in tokens.mask.nonzero().tolist():
        s = abs(scaled[row][column]) if as_released else scaled[row][column]
        low = 1 - 0.3 * (1 - 0.5 * s) if s <= 0 else 0.7
        high = 1 + 0.3 * (1 + 0.5 * s) if s > 0 else 1.3
        assert after.clip_low[row, column].item() == pytest.approx(low)
        assert after.clip_high[row, column].item() == pytest.approx(high)
        ratio = math.exp((tokens.logp - tokens.old_logp)[row, column].item())
        inside = 1 - (1 - low) / 2 < ratio < 1 + (high - 1) / 2
        branches.add((s > 0, inside))
        unsure += s > 0
        given = before.advantage[row, column].item()
        expected = given * (1 + 0.4 * s) if (s > 0) != inside else given
        assert after.advantage[row, column].item() == pytest.approx(expected, rel=1e-12)
        changes.append(abs(expected - given))
    assert branches >= {(True, True), (True, False)}
    assert as_released or len(branches) == 4
    assert number(metrics["unsure"]) == pytest.approx(unsure / len(changes))
    assert number(metrics["advantage_change"]) == pytest.approx(sum(changes) / len(changes))
    assert after.select is before.select


def test_zeros_leave_bounds_or_advantages() -> None:
    tokens = make_tokens(rows=6, length=8)
    before = make_signal(tokens)
    bounds, _ = HAPO(advantage=0.0).on_tokens(tokens, before)
    assert torch.equal(bounds.advantage, before.advantage)
    assert not torch.equal(bounds.clip_low, before.clip_low)
    advantage, _ = HAPO(clip=0.0).on_tokens(tokens, before)
    assert torch.equal(advantage.clip_low, before.clip_low)
    assert torch.equal(advantage.clip_high, before.clip_high)
    assert not torch.equal(advantage.advantage, before.advantage)


def test_the_loss_is_the_recorded_one_of_the_signed_scale() -> None:
    entries = json.loads((GOLDEN / "hapo_0.json").read_text())
    given = entries["hyperparameters"]
    tensors = {
        name: torch.tensor(entry["data"]).double() for name, entry in entries["inputs"].items()
    }
    mask = tensors["mask"].bool()
    tokens = replace(
        make_tokens(*mask.shape, mask=mask),
        logp=tensors["logp"].requires_grad_(),
        old_logp=tensors["old_logp"],
        entropy=tensors["entropy"],
    )
    before = make_signal(tokens, low=1 - given["clip_low"], high=1 + given["clip_high"])
    config = HAPO(pivot=given["pivot"], clip=given["clip_alpha"], advantage=given["adv_beta"])
    signal, _ = config.on_tokens(tokens, replace(before, advantage=tensors["advantages"]))
    step = Step(micro_batches=1, tokens=mask.sum(), max_length=12)
    assert given["clip_c"] == 10, "beyond every ratio of the case"
    loss = build_objective("bnpo")(tokens, signal, counted=step, everything=step)
    (gradient,) = torch.autograd.grad(loss, tokens.logp)
    clean = entries["checks"][1]["independent_values"]
    assert loss.item() == pytest.approx(clean["loss"]["data"], rel=1e-7)
    expected = torch.tensor(clean["grad_logp"]["data"]).double()
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)
    assert loss.item() != pytest.approx(entries["outputs"]["loss"]["data"], rel=1e-2)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pivot": 1.1}, "pivot"),
        ({"pivot": -0.1}, "pivot"),
        ({"clip": -1.0}, "clip"),
        ({"clip": math.nan}, "clip"),
        ({"advantage": math.inf}, "advantage"),
    ],
)
def test_hapo_refuses(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        HAPO(**settings)


def test_needs() -> None:
    assert HAPO().needs == {"entropy", "several_updates"}
    assert HAPO(clip=0.0).needs == {"entropy"}
