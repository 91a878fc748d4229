"""Windows of entropy, their threshold, and difficulty by pass rate: ares_reward and ares_kl share them."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.interventions import AresReward
from rlent.interventions.ares.difficulty import EASY, HARD, MEDIUM, difficulties
from rlent.interventions.ares.windows import Threshold, median
from rlent.numerics import window_mean
from rlent.reduce import LOCAL, Reduce
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import rows
from tests.ranks import on_ranks

HOLE = torch.tensor(
    [
        [1, 1, 0, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 0, 0],
    ],
    dtype=torch.bool,
)
TOKENS = make_tokens(rows=6, length=9, mask=HOLE)
ROLLOUTS = make_rollouts(TOKENS)


def entropies(rollouts: Rollouts) -> list[list[float | None]]:
    assert rollouts.old_entropy is not None
    pairs = zip(rollouts.old_entropy.tolist(), rollouts.mask.tolist(), strict=True)
    return [[h if m else None for h, m in zip(*row, strict=True)] for row in pairs]


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("width", [1, 4, 20])
def test_window_mean_is_its_definition(width: int, skip: int) -> None:
    assert ROLLOUTS.old_entropy is not None
    values = torch.where(HOLE, ROLLOUTS.old_entropy, math.nan)
    mean, size = window_mean(values, HOLE, width, skip=skip)
    for row, given in enumerate(entropies(ROLLOUTS)):
        for t in range(9):
            inside = [h for h in given[t + skip : t + skip + width] if h is not None]
            assert size[row, t] == len(inside)
            expected = sum(inside) / len(inside) if inside else 0.0
            assert math.isclose(float(mean[row, t]), expected, abs_tol=1e-12)


def paper_threshold(rollouts: Rollouts, share: float) -> float:
    each = [[h for h in row if h is not None] for row in entropies(rollouts)]
    quantiles = [quantile(row, share) for row in each if row]
    return sum(quantiles) / len(quantiles)


def released_threshold(rollouts: Rollouts, share: float, window: int) -> float:
    """By the positions of a completion without holes: the mean of the next tokens, and of earlier means at its end."""
    quantiles = []
    for row in entropies(rollouts):
        given = [h for h in row if h is not None]
        means: list[float] = []
        for t in range(len(given)):
            after = given[t + 1 : t + 1 + window]
            if len(after) == window:
                means.append(sum(after) / window)
            else:
                means.append(sum(means) / len(means) if means else given[t])
        if means:
            quantiles.append(quantile(means, share))
    return quantile(quantiles, 0.5)


def other(seed: int) -> Rollouts:
    return make_rollouts(make_tokens(rows=6, length=9, seed=seed))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
def test_the_threshold_is_the_mean_of_the_completions_quantiles(share: float) -> None:
    tracker = Threshold(AresReward(quantile=share))
    for rollouts in (ROLLOUTS, other(1)):
        assert math.isclose(tracker.of(rollouts), paper_threshold(rollouts, share), rel_tol=1e-12)


def test_a_moving_threshold_keeps_a_share_of_the_one_before() -> None:
    tracker = Threshold(AresReward(momentum=0.8))
    first = paper_threshold(ROLLOUTS, 0.95)
    assert math.isclose(tracker.of(ROLLOUTS), first, rel_tol=1e-12)
    moved = 0.8 * first + 0.2 * paper_threshold(other(1), 0.95)
    assert math.isclose(tracker.of(replace(other(1), train=False)), moved, rel_tol=1e-12)
    assert math.isclose(tracker.of(other(1)), moved, rel_tol=1e-12)  # the evaluation moved nothing


@pytest.mark.parametrize("window", [1, 3, 4])
def test_the_released_threshold_comes_from_the_batches_before(window: int) -> None:
    tracker = Threshold(AresReward(window=window, quantile=0.9, as_released=True))
    whole = torch.arange(9) < torch.tensor([[1], [2], [5], [9], [0], [7]])
    first = make_rollouts(make_tokens(rows=6, length=9, mask=whole))
    assert tracker.of(first) == 1.5
    assert tracker.of(replace(other(1), train=False)) == pytest.approx(
        released_threshold(first, 0.9, window), rel=1e-12
    )
    used = tracker.of(other(1))
    assert used == pytest.approx(released_threshold(first, 0.9, window), rel=1e-12)
    moved = 0.99 * used + 0.01 * released_threshold(other(1), 0.9, window)
    assert tracker.of(other(2)) == pytest.approx(moved, rel=1e-12)


@pytest.mark.parametrize(("released", "expected"), [(False, 0.0), (True, 1.5)])
def test_without_a_token_the_threshold_stays(released: bool, expected: float) -> None:
    nothing = make_rollouts(make_tokens(rows=2, length=3, mask=torch.zeros(2, 3).bool()))
    tracker = Threshold(AresReward(as_released=released))
    assert tracker.of(nothing) == expected
    assert tracker.value is None
    tracker.of(ROLLOUTS)
    before = tracker.value
    tracker.of(nothing)
    assert tracker.value == before


@pytest.mark.parametrize("released", [False, True])
def test_all_ranks_have_the_threshold_of_the_whole_batch(released: bool) -> None:
    def work(part: slice, reduce: Reduce) -> float | None:
        tracker = Threshold(AresReward(as_released=released))
        tracker.of(replace(rows(ROLLOUTS, part), reduce=reduce))
        return tracker.value

    (whole,) = on_ranks([slice(None)], work)
    assert whole is not None
    for value in on_ranks([slice(0, 1), slice(1, 1), slice(1, 6)], work):
        assert value == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("number", [1, 2, 5, 6])
def test_median(number: int) -> None:
    values = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
    mask = torch.arange(8) < number
    spoiled = torch.where(mask, values, math.nan)
    expected = quantile(values[:number].tolist(), 0.5)
    assert median(spoiled, mask, LOCAL) == pytest.approx(expected, rel=1e-12)
    assert median(spoiled, torch.zeros_like(mask), LOCAL) is None


def high_by_hand(config: AresReward, rollouts: Rollouts, threshold: float) -> list[list[bool]]:
    skip = 1 if config.as_released else 0
    found = []
    for row in entropies(rollouts):
        marks = []
        for t, own in enumerate(row):
            inside = [h for h in row[t + skip : t + skip + config.window] if h is not None]
            mean = sum(inside) / len(inside) if inside else -1.0
            whole = len(inside) == config.window
            high = whole and mean >= threshold if config.as_released else mean > threshold
            marks.append(own is not None and high)
        found.append(marks)
    return found


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("window", [1, 3])
def test_high_windows(window: int, released: bool) -> None:
    config = AresReward(window=window, as_released=released)
    assert ROLLOUTS.old_entropy is not None
    high = config.high(ROLLOUTS.old_entropy, ROLLOUTS.mask, 1.0)
    assert high.tolist() == high_by_hand(config, ROLLOUTS, 1.0)
    assert high.any()
    assert (ROLLOUTS.mask & ~high).any()


def test_a_window_at_the_threshold_is_high_in_the_released_code_alone() -> None:
    entropy, mask = torch.full((1, 3), 0.5), torch.ones(1, 3).bool()
    assert not AresReward(window=2).high(entropy, mask, 0.5).any()
    high = AresReward(window=2, as_released=True).high(entropy, mask, 0.5)
    assert high.tolist() == [[True, False, False]]


def graded(passed: list[int], **edges: float) -> list[int]:
    """Difficulties of prompts of 8 completions, of which so many are right."""
    right = torch.cat([torch.arange(8) < number for number in passed])
    group = torch.arange(len(passed)).repeat_interleave(8) * 3 + 5
    grade = difficulties(right, torch.ones_like(right), group, **edges)
    return grade.view(-1, 8)[:, 0].tolist()


def test_difficulty_has_the_papers_edges() -> None:
    edges = {"easy": AresReward().easy, "medium": AresReward().medium}
    expected = [HARD] * 3 + [MEDIUM] * 3 + [EASY] * 3
    assert graded(list(range(9)), **edges) == expected


def test_released_edges_are_thirds() -> None:
    config = AresReward(as_released=True)
    assert (config.easy, config.medium) == (2 / 3, 1 / 3)
    group = torch.zeros(3, dtype=torch.long)
    for number, grade in ((0, HARD), (1, MEDIUM), (2, EASY), (3, EASY)):
        right = torch.arange(3) < number
        found = difficulties(
            right, torch.ones(3).bool(), group, easy=config.easy, medium=config.medium
        )
        assert found.tolist() == [grade] * 3


def test_what_has_no_score_is_not_in_the_pass_rate() -> None:
    right = torch.tensor([True, False, False, False, True, True])
    scored = torch.tensor([True, False, False, False, False, False])
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    found = difficulties(right, scored, group, easy=0.75, medium=0.375)
    assert found.tolist() == [EASY, EASY, HARD, HARD, HARD, HARD]


def rewarded(values: list[float], parts: Tensor | None = None) -> Rollouts:
    reward = torch.tensor(values, dtype=torch.float64)
    made = make_rollouts(make_tokens(rows=len(values)))
    parts = reward.unsqueeze(1) if parts is None else parts
    return replace(made, reward=reward, reward_parts=parts, group=torch.zeros(len(values)).long())


def test_a_named_reward_says_what_is_correct() -> None:
    parts = torch.tensor([[1.0], [1.0], [0.0], [1.0]])
    rollouts = rewarded([0.2, math.nan, 0.9, 0.6], parts)
    right, scored, grade = AresReward(reward="right").graded(rollouts)
    assert right.tolist() == [True, True, False, True]
    assert scored.all()
    assert grade.tolist() == [EASY] * 4
    right, scored, grade = AresReward(correct=0.1).graded(rollouts)
    assert (right & scored).tolist() == [True, False, True, True]
    assert AresReward(reward="right").named_rewards == {"right"}
    assert AresReward().named_rewards == frozenset()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"window": 0}, "window must be at least 1"),
        ({"quantile": 1.1}, "quantile must be in"),
        ({"momentum": 1.0}, "momentum must be in"),
        ({"easy": 0.3}, "medium and easy must be in order"),
        ({"medium": -0.1}, "medium and easy must be in order"),
        ({"easy": 1.2}, "medium and easy must be in order"),
        ({"correct": math.nan}, "correct must be finite"),
        ({"as_released": True, "easy": 0.9}, "as_released means easy"),
        ({"as_released": True, "medium": 0.2}, "as_released means medium"),
        ({"as_released": True, "momentum": 0.5}, "as_released means momentum"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AresReward(**given)
