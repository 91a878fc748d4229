"""ares_reward: counts, targets, strengths and what they add to the reward."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import AresReward, chain
from rlent.interventions.ares.reward import normalised, paper_shaping
from rlent.reduce import Reduce
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number, rows
from tests.ranks import on_ranks

NAMES = ("easy", "medium", "hard")
REWARDS = [
    *(1.0, 1.0, 1.0, 0.0),  # easy
    *(1.0, 0.0, 1.0, 0.0),  # medium
    *(0.0, 0.0, math.nan, 0.0),  # hard
    *(0.0, 0.0, 1.0, 0.0),  # hard
]
GRADES = [0] * 4 + [1] * 4 + [2] * 8


def batch(seed: int) -> Rollouts:
    made = make_rollouts(make_tokens(rows=16, length=12, seed=seed), seed=seed)
    reward = torch.tensor(REWARDS, dtype=torch.float64)
    group = torch.arange(16) // 4 + 7
    return replace(made, reward=reward, reward_parts=reward.unsqueeze(1), group=group)


def counts_of(config: AresReward, rollouts: Rollouts, threshold: float) -> list[int]:
    assert rollouts.old_entropy is not None
    found = []
    for row in range(len(rollouts.reward)):
        length = int(rollouts.mask[row].sum())
        entropy = rollouts.old_entropy[row, :length].tolist()
        high = 0
        for t in range(length):
            window = entropy[t : t + config.window]
            high += sum(window) / len(window) > threshold
        found.append(high)
    return found


def threshold_of(rollouts: Rollouts, share: float) -> float:
    assert rollouts.old_entropy is not None
    quantiles = [
        float(entropy[mask].quantile(share))
        for entropy, mask in zip(rollouts.old_entropy, rollouts.mask, strict=True)
    ]
    return sum(quantiles) / len(quantiles)


def moments(counts: list[int]) -> list[tuple[float, float]]:
    """Mean and variance of each difficulty's scored completions."""
    found = []
    for grade in range(3):
        members = [
            count
            for count, each, reward in zip(counts, GRADES, REWARDS, strict=True)
            if each == grade and not math.isnan(reward)
        ]
        mean = sum(members) / len(members)
        found.append((mean, sum((count - mean) ** 2 for count in members) / len(members)))
    return found


def distance(grade: int, excess: float) -> float:
    return (max(0.0, excess), abs(excess), max(0.0, -excess))[grade]


def shaped(counts: list[int], targets: list[float], strengths: list[float]) -> list[float]:
    return [
        reward - strengths[grade] * distance(grade, count - targets[grade])
        if reward == 0
        else reward
        for reward, grade, count in zip(REWARDS, GRADES, counts, strict=True)
    ]


def check(given: torch.Tensor, expected: list[float]) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(given, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_the_papers_strength_is_how_far_the_mean_is_above_the_earlier_batches() -> None:
    config = AresReward(quantile=0.5, variance_floor=0.5, target_momentum=0.75)
    links = chain([config])
    targets: list[float] = []
    changed = 0
    for seed in range(4):
        rollouts = batch(seed)
        reward, metrics = links.on_rewards(rollouts)
        counts = counts_of(config, rollouts, threshold_of(rollouts, 0.5))
        found = moments(counts)
        if not targets:
            check(reward, REWARDS)
            targets = [mean for mean, _ in found]
            continue
        pairs = zip(found, targets, strict=True)
        strengths = [max(0.0, (mean - aim) / (variance + 0.5)) for (mean, variance), aim in pairs]
        expected = shaped(counts, targets, strengths)
        check(reward, expected)
        changed += expected != REWARDS
        targets = [0.75 * aim + 0.25 * mean for (mean, _), aim in zip(found, targets, strict=True)]
        for grade, name in enumerate(NAMES):
            assert number(metrics[f"ares_reward/count_{name}"]) == pytest.approx(found[grade][0])
    assert changed
    assert links.state_dict()["ares_reward"]["target"] == pytest.approx(targets)


def test_a_strength_of_ones_own_and_the_batchs_own_mean() -> None:
    config = AresReward(strength=0.3, target="batch", window=2)
    rollouts = batch(0)
    reward, metrics = chain([config]).on_rewards(rollouts)
    threshold = threshold_of(rollouts, 0.95)
    counts = counts_of(config, rollouts, threshold)
    targets = [mean for mean, _ in moments(counts)]
    expected = shaped(counts, targets, [0.3] * 3)
    check(reward, expected)
    scored = [(new, old) for new, old in zip(expected, REWARDS, strict=True) if old == old]
    read = {name: number(value) for name, value in metrics.items()}
    assert read["ares_reward/threshold"] == pytest.approx(threshold)
    assert read["ares_reward/shaping"] == pytest.approx(sum(a - b for a, b in scored) / 15)
    assert read["ares_reward/shaping"] < 0
    with_score = [c for c, old in zip(counts, REWARDS, strict=True) if old == old]
    assert read["ares_reward/count"] == pytest.approx(sum(with_score) / 15)
    assert [read[f"ares_reward/{name}"] for name in NAMES] == [4 / 15, 4 / 15, 7 / 15]


def test_a_difficulty_that_has_never_been_seen_is_not_shaped() -> None:
    links = chain([AresReward(strength=0.5, quantile=0.2)])
    easy = replace(batch(0), reward=torch.ones(16).double())
    links.on_rewards(easy)
    assert links.state_dict()["ares_reward"]["target"][1:] == [None, None]
    reward, _ = links.on_rewards(batch(1))
    assert reward[3] != 0  # the wrong one of the easy prompt
    assert torch.equal(reward[4:].nan_to_num(9), batch(1).reward[4:].nan_to_num(9))


def test_shaping_by_hand() -> None:
    counts = torch.tensor([9.0, 1.0] * 3, dtype=torch.float64)
    grade = torch.tensor([0, 0, 1, 1, 2, 2])
    wrong = torch.zeros(6, dtype=torch.bool)
    given = paper_shaping(counts, wrong, grade, target=(4.0, 4.0, 4.0), strength=(0.5, 1.0, 2.0))
    assert given.tolist() == [-2.5, 0, -5, -3, 0, -6]
    assert not paper_shaping(counts, ~wrong, grade, target=(4.0,) * 3, strength=(1.0,) * 3).any()


def test_an_evaluation_moves_nothing() -> None:
    for config in (AresReward(momentum=0.5), AresReward(as_released=True)):
        links = chain([config])
        links.on_rewards(batch(0))
        before = links.state_dict()
        links.on_rewards(replace(batch(1), train=False))
        assert links.state_dict() == before
        links.on_rewards(batch(1))
        assert links.state_dict() != before


@pytest.mark.parametrize("released", [False, True])
def test_a_restored_state_goes_on(released: bool) -> None:
    config = AresReward(as_released=released, quantile=0.5)
    links, again = chain([config]), chain([config])
    links.on_rewards(batch(0))
    again.load_state_dict(links.state_dict())
    for seed in (1, 2):
        first, _ = links.on_rewards(batch(seed))
        second, _ = again.on_rewards(batch(seed))
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("config", [AresReward(strength=0.5), AresReward(as_released=True)])
def test_all_ranks_shape_as_one_would(config: AresReward) -> None:
    def work(part: slice, reduce: Reduce) -> torch.Tensor:
        links = chain([config])
        links.on_rewards(replace(rows(batch(0), part), reduce=reduce))
        return links.on_rewards(replace(rows(batch(1), part), reduce=reduce))[0]

    (whole,) = on_ranks([slice(None)], work)
    parts = torch.cat(on_ranks([slice(0, 4), slice(4, 12), slice(12, 16)], work))
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_trigger_words_are_matched_as_the_tokens_texts() -> None:
    rollouts = replace(
        batch(0), vocabulary=["x"] * 5 + ["▁Wait", " but", "ĠSo", "so", "waiting"] * 3
    )
    assert rollouts.old_entropy is not None
    config = AresReward(triggers=("wait", "so"), window=1, quantile=0.0)
    links = chain([config])
    _, metrics = links.on_rewards(rollouts)
    threshold = threshold_of(rollouts, 0.0)
    expected = 0
    for row in range(16):
        if math.isnan(REWARDS[row]):
            continue
        for t in range(int(rollouts.mask[row].sum())):
            word = (int(rollouts.completion_ids[row, t]) - 5) % 5 in (0, 2, 3)
            expected += word and bool(rollouts.old_entropy[row, t] > threshold)
    assert number(metrics["ares_reward/count"]) == pytest.approx(expected / 15)
    assert 0 < expected < 15 * 12
    assert config.needs == {"old_entropy", "whole_groups", "vocabulary"}
    assert AresReward().needs == {"old_entropy", "whole_groups"}


def test_normalised_texts() -> None:
    assert [normalised(text) for text in ("▁Wait", "Ġhence", " But ", "a▁b")] == [
        "wait",
        "hence",
        "but",
        "a▁b",
    ]


def test_the_released_reward_punishes_correct_easy_and_rewards_wrong_completions() -> None:
    links = chain([AresReward(as_released=True, quantile=0.3, window=2)])
    links.on_rewards(batch(0))
    reward, _ = links.on_rewards(batch(1))
    added = (reward - batch(1).reward).tolist()
    least = (0.5 * 0.6, 0.5 * 0.8, 0.5 * 1.2)
    for row, (old, grade) in enumerate(zip(REWARDS, GRADES, strict=True)):
        if math.isnan(old):
            assert math.isnan(added[row])
        elif old == 0:
            # The strength has moved by at most 0.05 * 0.5 a batch from 0.5.
            assert added[row] >= least[grade] * (0.5 - 2 * 0.025)
        elif grade < 2:
            assert added[row] <= 0


def test_released_targets_and_strengths_move_by_the_rounding_alone() -> None:
    config = AresReward(as_released=True, window=2)
    links = chain([config])
    before = [0.5] * 3
    for seed in range(3):
        _, metrics = links.on_rewards(batch(seed))
        state = links.state_dict()["ares_reward"]
        means = [number(metrics[f"ares_reward/count_{name}"]) for name in NAMES]
        assert state["target"] == [round(mean) for mean in means]
        signs = (1, 1, -1)
        pairs = zip(before, means, signs, strict=True)
        before = [min(max(old + sign * 0.05 * (m - round(m)), 0.0), 2.0) for old, m, sign in pairs]
        assert state["strength"] == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"strength": -0.1}, "strength must be"),
        ({"strength": math.inf}, "strength must be"),
        ({"variance_floor": 0.0}, "variance_floor must be positive"),
        ({"target_momentum": 1.0}, "target_momentum must be in"),
        ({"target": "batch"}, "makes the paper's lambda 0"),
        ({"strength": 1.0, "variance_floor": 2.0}, "variance_floor has no effect"),
        ({"strength": 1.0, "target": "batch", "target_momentum": 0.5}, "target_momentum has no"),
        ({"triggers": ("Wait",)}, "triggers must be words"),
        ({"triggers": ("",)}, "triggers must be words"),
        ({"as_released": True, "strength": 1.0}, "as_released means strength"),
        ({"as_released": True, "variance_floor": 2.0}, "as_released means variance_floor"),
        ({"as_released": True, "target_momentum": 0.5}, "as_released means target_momentum"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AresReward(**given)
