"""ares_kl: the penalty inside and outside of high windows, and the factor of each difficulty."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import AresKL, Chain, StepStatistics, chain
from rlent.reduce import Reduce
from rlent.types import Rollouts, Signal, Tokens
from tests.interventions.examples import everything, make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number, rows
from tests.ranks import on_ranks

GRADES = [0, 0, 1, 1, 2, 2, 2, 2]
STEP = StepStatistics(step=0, tokens=1.0, entropy=1.0, selected=1.0)


def batch(seed: int = 0) -> tuple[Tokens, Rollouts]:
    tokens = make_tokens(rows=8, length=12, seed=seed)
    reward = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0], dtype=torch.float64)
    tokens = replace(tokens, reward=reward, group=torch.arange(8) // 2 + 3)
    return tokens, make_rollouts(tokens)


def begun(config: AresKL, rollouts: Rollouts) -> Chain:
    links = chain([config])
    selection = everything(rollouts.mask)
    assert links.on_select(rollouts, selection)[0] is selection
    return links


def k3_of(tokens: Tokens, row: int, t: int) -> float:
    assert tokens.ref_logp is not None
    x = float(tokens.ref_logp[row, t]) - float(tokens.logp.detach()[row, t])
    return math.exp(x) - x - 1


def inside_by_hand(tokens: Tokens, window: int, threshold: float) -> list[list[bool]]:
    assert tokens.old_entropy is not None
    found = []
    for row in range(8):
        length = int(tokens.mask[row].sum())
        entropy = tokens.old_entropy[row, :length].tolist()
        marks = [False] * 12
        for t in range(length):
            inside = entropy[t : t + window]
            if sum(inside) / len(inside) > threshold:
                for place in range(t, min(t + window, length)):
                    marks[place] = True
        found.append(marks)
    return found


def threshold_of(tokens: Tokens, share: float) -> float:
    assert tokens.old_entropy is not None
    pairs = zip(tokens.old_entropy, tokens.mask, strict=True)
    return sum(float(entropy[mask].quantile(share)) for entropy, mask in pairs) / 8


def test_the_penalty_by_hand() -> None:
    config = AresKL(weight=0.2, relaxed=0.25, window=3, quantile=0.6, initial=1.5)
    tokens, rollouts = batch()
    links = begun(config, rollouts)
    before = replace(make_signal(tokens), penalty=torch.full_like(tokens.logp, 0.125))
    signal, metrics = links.on_tokens(tokens, before)
    threshold = threshold_of(tokens, 0.6)
    inside = inside_by_hand(tokens, 3, threshold)
    total = covered = 0.0
    for row in range(8):
        for t in range(12):
            if not tokens.mask[row, t]:
                assert signal.penalty[row, t] == 0.125
                continue
            factor = 0.2 * 1.5 * (0.25 if inside[row][t] else 1.0)
            expected = 0.125 + factor * k3_of(tokens, row, t)
            assert float(signal.penalty.detach()[row, t]) == pytest.approx(expected, rel=1e-12)
            total += k3_of(tokens, row, t)
            covered += inside[row][t]
    count = int(tokens.mask.sum())
    assert 0 < covered < count
    assert number(metrics["ares_kl/kl"]) == pytest.approx(total / count)
    assert number(metrics["ares_kl/inside"]) == pytest.approx(covered / count)


def test_the_gradient_is_that_of_the_weighted_estimator() -> None:
    tokens, rollouts = batch()
    links = begun(AresKL(weight=0.2, relaxed=1.0), rollouts)
    signal, _ = links.on_tokens(tokens, make_signal(tokens))
    (gradient,) = torch.autograd.grad(signal.penalty.sum(), tokens.logp)
    assert tokens.ref_logp is not None
    slope = 0.2 * (1 - (tokens.ref_logp - tokens.logp.detach()).exp())
    torch.testing.assert_close(gradient, torch.where(tokens.mask, slope, 0.0))


def test_difficulty_chooses_the_factor_also_in_a_shuffled_micro_batch() -> None:
    tokens, rollouts = batch()
    links = begun(AresKL(weight=1.0, relaxed=1.0), rollouts)
    links.load_state_dict({"ares_kl": links.state_dict()["ares_kl"] | {"factor": [0.5, 1.0, 2.0]}})
    order = torch.tensor([5, 0, 3])
    part = rows(tokens, order)
    signal, metrics = links.on_tokens(part, make_signal(part))
    for place, row in enumerate(order.tolist()):
        for t in range(int(part.mask[place].sum())):
            expected = (0.5, 1.0, 2.0)[GRADES[row]] * k3_of(tokens, row, t)
            assert float(signal.penalty.detach()[place, t]) == pytest.approx(expected, rel=1e-12)
    factors = [metrics[f"ares_kl/factor_{name}"] for name in ("easy", "medium", "hard")]
    assert factors == [0.5, 1.0, 2.0]


def outside_means(tokens: Tokens, inside: list[list[bool]]) -> list[float]:
    sums, counts = [0.0] * 3, [0] * 3
    for row, grade in enumerate(GRADES):
        for t in range(int(tokens.mask[row].sum())):
            if not inside[row][t]:
                sums[grade] += k3_of(tokens, row, t)
                counts[grade] += 1
    return [total / count for total, count in zip(sums, counts, strict=True)]


@pytest.mark.parametrize("every", [1, 2])
def test_factors_follow_the_divergence_outside_of_windows(every: int) -> None:
    config = AresKL(window=2, quantile=0.8, aim=0.03, rate=0.1, every=every, largest=1.2)
    links = chain([config])
    factors = [1.0] * 3
    for step in range(1, 5):
        tokens, rollouts = batch(step)
        links.on_select(rollouts, everything(rollouts.mask))
        for part in (slice(0, 3), slice(3, 8)):
            links.on_tokens(rows(tokens, part), rows(make_signal(tokens), part))
        links.on_step(STEP)
        means = outside_means(tokens, inside_by_hand(tokens, 2, threshold_of(tokens, 0.8)))
        if step % every == 0:
            moved = [f * (1 + 0.1 * (kl / 0.03 - 1)) for f, kl in zip(factors, means, strict=True)]
            factors = [min(max(value, 1e-4), 1.2) for value in moved]
        assert links.state_dict()["ares_kl"]["factor"] == pytest.approx(factors, rel=1e-12)
    assert factors != [1.0] * 3


def test_a_difficulty_without_a_token_keeps_its_factor() -> None:
    tokens, rollouts = batch()
    easy = replace(rollouts, reward=torch.ones(8).double())
    links = begun(AresKL(), easy)
    links.on_tokens(tokens, make_signal(tokens))
    links.on_step(STEP)
    factors = links.state_dict()["ares_kl"]["factor"]
    assert factors[0] != 1.0
    assert factors[1:] == [1.0, 1.0]


def test_rate_0_holds_the_factors() -> None:
    tokens, rollouts = batch()
    links = begun(AresKL(rate=0.0, initial=0.7), rollouts)
    links.on_tokens(tokens, make_signal(tokens))
    links.on_step(STEP)
    assert links.state_dict()["ares_kl"]["factor"] == [0.7] * 3


class ReleasedController:
    """The released rule, one number after the other, at one difficulty."""

    def __init__(self, every: int) -> None:
        self.every, self.count = every, 0
        self.beta, self.last, self.error = 1.0, None, 0.0

    def update(self, kl: float) -> None:
        self.count += 1
        self.last = 0.03 * kl + 0.97 * (kl if self.last is None else self.last)
        error = self.last / 0.01 - 1
        if abs(error) < 0.02 or self.count % self.every:
            return
        self.error = 0.03 * error + 0.97 * self.error
        step = 0.05 * min(max(self.error, -0.2), 0.2)
        self.beta = math.exp(min(max(math.log(self.beta) + step, math.log(1e-4)), math.log(100)))


def sequence_mean(tokens: Tokens, row: int) -> float:
    length = int(tokens.mask[row].sum())
    return sum(k3_of(tokens, row, t) for t in range(length)) / length


@pytest.mark.parametrize(("scale", "every"), [(1.0, 1), (0.01, 1), (1.0, 3)])
def test_the_released_controller(scale: float, every: int) -> None:
    links = chain([AresKL(as_released=True, every=every)])
    controllers = [ReleasedController(every) for _ in range(3)]
    for step in range(20):
        tokens, rollouts = batch(step % 7)
        assert tokens.ref_logp is not None
        near = tokens.logp.detach() + scale * (tokens.ref_logp - tokens.logp.detach())
        tokens = replace(tokens, ref_logp=near)
        links.on_select(rollouts, everything(rollouts.mask))
        for part in (slice(0, 3), slice(3, 8)):
            links.on_tokens(rows(tokens, part), rows(make_signal(tokens), part))
        links.on_step(STEP)
        for grade, controller in enumerate(controllers):
            members = [row for row in range(8) if GRADES[row] == grade]
            controller.update(sum(sequence_mean(tokens, row) for row in members) / len(members))
        expected = [controller.beta for controller in controllers]
        assert links.state_dict()["ares_kl"]["factor"] == pytest.approx(expected, rel=1e-9)
    assert all(controller.beta != 1.0 for controller in controllers)


def test_the_released_form_relaxes_nothing_and_needs_no_entropy() -> None:
    config = AresKL(as_released=True)
    assert config.relaxed == 1.0
    assert config.needs == {"ref_logp", "whole_groups"}
    assert AresKL().needs == {"ref_logp", "whole_groups", "old_entropy"}
    tokens, rollouts = batch()
    links = begun(config, rollouts)
    _, metrics = links.on_tokens(tokens, make_signal(tokens))
    assert number(metrics["ares_kl/inside"]) == 0


def test_an_evaluation_between_two_updates_changes_neither() -> None:
    tokens, rollouts = batch()
    links = begun(AresKL(window=2, quantile=0.5, weight=1.0), rollouts)
    expected = links.on_tokens(tokens, make_signal(tokens))[0].penalty.detach()
    links.on_step(STEP)
    state = links.state_dict()
    factors = torch.tensor(state["ares_kl"]["factor"], dtype=torch.float64)[torch.tensor(GRADES)]
    others, evaluated = batch(1)
    evaluated = replace(evaluated, train=False, reward=1 - evaluated.reward)
    links.on_select(evaluated, everything(evaluated.mask))
    links.on_tokens(replace(others, train=False), make_signal(others))
    assert links.state_dict() == state
    after = links.on_tokens(tokens, make_signal(tokens))[0].penalty.detach()
    torch.testing.assert_close(after, expected * factors.unsqueeze(1))


def test_a_restored_state_goes_on() -> None:
    config = AresKL(momentum=0.9)
    links, again = chain([config]), chain([config])

    def step(of: Chain, seed: int) -> Signal:
        tokens, rollouts = batch(seed)
        of.on_select(rollouts, everything(rollouts.mask))
        signal, _ = of.on_tokens(tokens, make_signal(tokens))
        of.on_step(STEP)
        return signal

    step(links, 0)
    again.load_state_dict(links.state_dict())
    for seed in (1, 2):
        assert torch.equal(step(links, seed).penalty, step(again, seed).penalty)
    assert links.state_dict() == again.state_dict()


@pytest.mark.parametrize("config", [AresKL(quantile=0.6), AresKL(as_released=True)])
def test_all_ranks_move_the_factors_together(config: AresKL) -> None:
    def work(part: slice, reduce: Reduce) -> dict[str, Any]:
        tokens, rollouts = batch()
        rollouts = replace(rows(rollouts, part), reduce=reduce)
        links = begun(config, rollouts)
        for _ in range(2):
            tokens_here = replace(rows(tokens, part), reduce=reduce)
            links.on_tokens(tokens_here, rows(make_signal(tokens), part))
            links.on_step(STEP)
        return links.state_dict()["ares_kl"]

    (whole,) = on_ranks([slice(None)], work)
    assert whole["factor"] != [1.0] * 3
    for state in on_ranks([slice(0, 2), slice(2, 6), slice(6, 8)], work):
        assert state["factor"] == pytest.approx(whole["factor"], rel=1e-9)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"weight": -1.0}, "weight must be"),
        ({"relaxed": 1.5}, "relaxed must be in"),
        ({"aim": 0.0}, "aim must be positive"),
        ({"rate": 1.0}, "rate must be in"),
        ({"every": 0}, "every must be at least"),
        ({"smallest": 0.0}, "smallest, initial and largest"),
        ({"initial": 200.0}, "smallest, initial and largest"),
        ({"largest": 0.5}, "smallest, initial and largest"),
        ({"relaxed": 1.0, "window": 3}, "window has no effect"),
        ({"relaxed": 1.0, "quantile": 0.5}, "quantile has no effect"),
        ({"relaxed": 1.0, "momentum": 0.5}, "momentum has no effect"),
        ({"as_released": True, "relaxed": 0.2}, "as_released means relaxed"),
        ({"as_released": True, "window": 3}, "window has no effect"),
        ({"quantile": -0.1}, "quantile must be in"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AresKL(**given)
