"""bapo: the search by a plain loop that recomputes every contribution, and that all ranks share it."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.aggregate import Step
from rlent.interventions import BAPO, chain
from rlent.objective import build_objective
from rlent.reduce import Reduce
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number

GOLDEN = Path(__file__).parents[1] / "golden" / "cases"


def contributions(
    tokens: Tokens, signal: Signal, low: float, high: float, released: bool = False
) -> tuple[float, float]:
    positive = negative = 0.0
    for row, place in tokens.mask.nonzero().tolist():
        advantage = signal.advantage[row, place].item()
        ratio = math.exp(tokens.logp[row, place].item() - tokens.old_logp[row, place].item())
        if advantage >= 0 and (released or ratio <= high):
            positive += min(ratio, high) * advantage
        if advantage < 0 and (released or ratio >= low):
            negative -= max(ratio, low) * advantage
    return positive, negative


def path_by_loop(
    config: BAPO, tokens: Tokens, signal: Signal
) -> list[tuple[float, float, float, float]]:
    """Bounds and contributions of every step of the search, the last of which is taken."""
    assert config.low is not None
    assert config.high is not None
    low, high, path = config.low[0], config.high[0], []
    while True:
        positive, negative = contributions(tokens, signal, low, high, config.as_released)
        path.append((low, high, positive, negative))
        compared = negative if config.as_released else positive + negative
        if positive >= config.target * compared:
            return path
        if low < config.low[1]:
            low = min(low + config.low_step, config.low[1])
        elif high < config.high[1]:
            high = min(high + config.high_step, config.high[1])
        else:
            return path


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("target", [0.05, 0.3, 0.4, 0.5, 0.6, 0.95])
def test_bounds_are_those_of_the_search(seed: int, as_released: bool, target: float) -> None:
    tokens = make_tokens(rows=8, length=9, seed=seed, drift=0.8)
    signal = make_signal(tokens, seed=seed)
    config = BAPO(target=target, low_step=0.07, high_step=0.11, as_released=as_released)
    after, metrics = chain([config]).on_tokens(tokens, signal)
    path = path_by_loop(config, tokens, signal)
    low, high, positive, negative = path[-1]
    assert (after.clip_low == low).all()
    assert (after.clip_high == high).all()
    assert number(metrics["bapo/steps"]) == len(path) - 1
    share = positive / (positive + negative)
    assert number(metrics["bapo/positive_share"]) == pytest.approx(share)


def examples() -> list[tuple[Tokens, Signal]]:
    made = [(seed, make_tokens(rows=8, length=9, seed=seed, drift=0.8)) for seed in range(12)]
    return [(tokens, make_signal(tokens, seed=seed)) for seed, tokens in made]


def test_the_search_can_end_anywhere() -> None:
    ends = set()
    for (tokens, signal), target in itertools.product(examples(), (0.3, 0.4, 0.5, 0.6, 0.7)):
        after, _ = BAPO(target=target).on_tokens(tokens, signal)
        low, high = after.clip_low[0, 0].item(), after.clip_high[0, 0].item()
        ends.add((low > 0.6) + (low == 0.9) + (high > 1.2) + (high == 3.0))
    assert ends == {0, 1, 2, 3, 4}


def test_no_step_of_the_search_lowers_the_share() -> None:
    raised = set()
    for tokens, signal in examples():
        path = path_by_loop(BAPO(target=1.0), tokens, signal)
        shares = [positive / (positive + negative) for *_, positive, negative in path]
        assert shares == sorted(shares)
        after, metrics = BAPO(target=1.0).on_tokens(tokens, signal)
        assert number(metrics["positive_share"]) == pytest.approx(shares[-1])
        turn = next(place for place, (low, *_) in enumerate(path) if low == 0.9)
        raised |= {"low"} if shares[turn] > shares[0] else set()
        raised |= {"high"} if shares[-1] > shares[turn] else set()
    assert raised == {"low", "high"}


def test_the_first_half_of_the_released_search_lowers_the_share() -> None:
    fallen = 0
    for tokens, signal in examples():
        shares = {}
        for end in (0.6, 0.9):
            fixed = BAPO(low=(end, end), high=(1.2, 1.2), as_released=True)
            shares[end] = number(fixed.on_tokens(tokens, signal)[1]["positive_share"])
        assert shares[0.9] <= shares[0.6]
        fallen += shares[0.9] < shares[0.6]
    assert fallen > 6


def test_a_clipped_token_contributes_what_it_does_to_the_gradient() -> None:
    """``P`` and ``N`` are the sizes of the gradient of PPO's loss over tokens of either sign."""
    for tokens, signal in examples():
        after, metrics = BAPO(target=0.35).on_tokens(tokens, signal)
        step = Step(micro_batches=1, tokens=torch.tensor(1.0), max_length=1)
        loss = build_objective("dapo")(tokens, after, counted=step, everything=step)
        (gradient,) = torch.autograd.grad(loss, tokens.logp)
        positive, negative = gradient.clamp(max=0).abs().sum(), gradient.clamp(min=0).sum()
        share = (positive / (positive + negative)).item()
        assert number(metrics["positive_share"]) == pytest.approx(share)


def test_a_share_asks_for_more_than_a_ratio_in_the_recorded_case() -> None:
    """The upper bound that a reading as a share gives was recorded beside the released one."""
    entries = json.loads((GOLDEN / "bapo_0.json").read_text())
    given, inputs = entries["hyperparameters"], entries["inputs"]
    tokens = replace(
        make_tokens(4, 7),
        **{name: torch.tensor(inputs[name]["data"]).double() for name in ("logp", "old_logp")},
        mask=torch.tensor(inputs["mask"]["data"]).bool(),
    )
    advantage = torch.tensor(inputs["advantages"]["data"]).double()
    signal = replace(make_signal(tokens), advantage=advantage)
    config = BAPO(
        target=given["target"], low=(0.8, 0.8), high=(1.2, 2.0), high_step=given["high_step"]
    )
    found = {
        released: replace(config, as_released=released).on_tokens(tokens, signal)[0]
        for released in (False, True)
    }
    recorded = entries["checks"][1]["independent_values"]["clip_high"]["data"]
    assert (found[False].clip_high == recorded).all()
    assert recorded == 2.0
    assert found[True].clip_high[0, 0] == pytest.approx(1.3)


def test_tokens_that_do_not_learn_contribute_nothing() -> None:
    tokens = make_tokens(rows=8, length=9, drift=0.8)
    signal = make_signal(tokens)
    only_positive = replace(signal, select=tokens.mask & (signal.advantage > 0))
    after, metrics = BAPO(target=1.0).on_tokens(tokens, only_positive)
    assert (after.clip_high == 1.2).all()
    assert number(metrics["positive_share"]) == 1.0


def test_all_ranks_search_together() -> None:
    parts = [make_tokens(rows=4, length=9, seed=seed, drift=0.8) for seed in (1, 2)]
    signals = [make_signal(part, seed=seed) for seed, part in zip((1, 2), parts, strict=True)]
    sums: list[torch.Tensor] = []

    def recording(value: torch.Tensor) -> torch.Tensor:
        sums.append(value)
        return value

    for part, signal in zip(parts, signals, strict=True):
        BAPO().on_tokens(replace(part, reduce=Reduce(sum=recording)), signal)
    together = Reduce(sum=lambda value: sums[0] + sums[1])
    found = [
        BAPO().on_tokens(replace(part, reduce=together), signal)[0]
        for part, signal in zip(parts, signals, strict=True)
    ]
    assert found[0].clip_low[0, 0] == found[1].clip_low[0, 0]
    assert found[0].clip_high[0, 0] == found[1].clip_high[0, 0]
    totals = [contributions(p, s, 0.6, 1.2) for p, s in zip(parts, signals, strict=True)]
    assert (sums[0] + sums[1])[0].item() == pytest.approx(totals[0][0] + totals[1][0])


def test_a_bound_can_be_left_where_it_is() -> None:
    tokens = make_tokens(rows=8, length=9, drift=0.8)
    before = make_signal(tokens)
    after, _ = BAPO(target=1.0, low=None).on_tokens(tokens, before)
    assert torch.equal(after.clip_low, before.clip_low)
    assert (after.clip_high == 3.0).all()
    after, _ = BAPO(target=1.0, high=None).on_tokens(tokens, before)
    assert (after.clip_low == 0.9).all()
    assert torch.equal(after.clip_high, before.clip_high)


@pytest.mark.parametrize(
    "given",
    [
        {"target": -0.1},
        {"target": 1.1},
        {"target": math.nan},
        {"target": -0.1, "as_released": True},
        {"low": (0.9, 0.6)},
        {"low": (0.9, 1.1)},
        {"high": (2.0, 1.2)},
        {"high": (0.9, 1.2)},
        {"low_step": 0.0},
        {"high_step": -1.0},
    ],
)
def test_bapo_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        BAPO(**given)


def test_needs() -> None:
    assert BAPO().needs == {"several_updates"}
    assert BAPO(target=5.0, as_released=True).target == 5.0
