"""Every rule on runs that are made to break it, and on ones that are not."""

import math
from typing import Any

import pytest

from rlent.tracking.health import RULES, first_warnings, health_metrics, warnings

Line = dict[str, Any]


def lines(**metrics: list[float | None]) -> list[Line]:
    """A line per step; names are written with ``__`` for a slash."""
    columns = {name.replace("__", "/"): values for name, values in metrics.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def names(history: list[Line]) -> list[str]:
    return [warned.name for warned in warnings(history)]


def test_nothing_is_said_of_nothing() -> None:
    assert warnings([]) == []
    assert warnings([{"entropy": None, "reward": 0.0}] * 50) == []


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (0.19, ["entropy_collapse"]),
        (0.21, []),
        (1.0, []),
        (2.9, []),
        (3.1, ["entropy_explosion"]),
        (0.0, ["entropy_collapse"]),
    ],
)
def test_entropy_is_compared_with_the_first_steps(late: float, expected: list[str]) -> None:
    assert names(lines(entropy=[1.0] * 5 + [late] * 5)) == expected
    assert names(lines(entropy=[1.0] * 5 + [late] * 4)) == []  # too few to tell
    assert names(lines(entropy=[1.0] * 5 + [late] * 5 + [1.0] * 5)) == []  # it has passed


def test_a_small_entropy_that_triples_has_not_exploded() -> None:
    assert names(lines(entropy=[0.1] * 5 + [0.59] * 5)) == []
    assert names(lines(entropy=[0.1] * 5 + [0.61] * 5)) == ["entropy_explosion"]


@pytest.mark.parametrize(
    ("metric", "bound", "rule"),
    [
        ("frac_reward_zero_std", 0.9, "equal_rewards"),
        ("completions/clipped_ratio", 0.5, "truncation"),
        ("clip_ratio/region_mean", 0.2, "importance_ratios"),
        ("cispo_clip_ratio", 0.2, "importance_ratios"),
        ("sampling/sampling_logp_difference/mean", 0.1, "importance_ratios"),
    ],
)
def test_levels(metric: str, bound: float, rule: str) -> None:
    assert names([{metric: 0.0}] * 3 + [{metric: bound + 0.01}] * 5) == [rule]
    assert names([{metric: 1.0}] * 3 + [{metric: bound - 0.01}] * 5) == []
    assert names([{metric: 1.0}] * 4) == []


@pytest.mark.parametrize("metric", ["forking_tokens/kept_share", "kl_cov/selected", "x/dropped"])
@pytest.mark.parametrize(("value", "word"), [(0.0, "no token"), (1.0, "every token")])
def test_a_selection_of_nothing_or_everything(metric: str, value: float, word: str) -> None:
    (warned,) = warnings([{metric: value}] * 5)
    assert warned.name == "selection"
    assert word in warned.problem
    assert metric in warned.problem
    assert names([{metric: 0.5}, *[{metric: value}] * 4]) == []
    assert names([*[{metric: value}] * 4, {metric: 0.001}]) == []
    assert names([{metric.partition("/")[0] + "/factor": value}] * 5) == []


RISING = [float(step) for step in range(20)]


def test_a_reward_that_follows_the_length() -> None:
    lengths = [100.0 + 5 * step for step in range(20)]
    history = lines(reward=RISING, completions__mean_length=lengths)
    (warned,) = warnings(history)
    assert warned.name == "length_hacking"
    assert "from 110 to 185 tokens" in warned.problem
    assert "correlation 1.00" in warned.problem
    falling = lines(reward=RISING, completions__mean_length=lengths[::-1])
    assert names(falling) == ["length_hacking"]


def test_what_is_no_hacking_by_length() -> None:
    lengths = [100.0 + 5 * step for step in range(20)]
    noise = [math.sin(37.0 * step) for step in range(20)]
    steady = [100.0 + step for step in range(20)]
    assert names(lines(reward=noise, completions__mean_length=lengths)) == []
    assert names(lines(reward=RISING, completions__mean_length=steady)) == []
    assert names(lines(reward=[1.0] * 20, completions__mean_length=lengths)) == []
    held_out: list[float | None] = [None] * 20
    held_out[0], held_out[-1] = 0.2, 0.3
    both: dict[str, Any] = {"reward": RISING, "completions__mean_length": lengths}
    assert names(lines(**both, held_out__score=held_out)) == []
    held_out[-1] = 0.2
    (warned,) = warnings(lines(**both, held_out__score=held_out))
    assert "held-out score has not risen" in warned.problem


def test_every_rule_has_a_metric_and_a_remedy() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) == 7
    warned = warnings([{"frac_reward_zero_std": 1.0}] * 5)
    metrics = health_metrics(warned)
    assert metrics == {f"health/{rule.name}": float(rule.name == "equal_rewards") for rule in RULES}
    assert str(warned[0]).startswith("equal rewards: in 100% of the groups")
    assert "\n  change: " in str(warned[0])


def test_a_finished_run_tells_when_each_rule_first_warned() -> None:
    history = lines(
        entropy=[1.0] * 5 + [0.1] * 5,
        frac_reward_zero_std=[1.0] * 10,
        health__entropy_collapse=[0.0] * 9 + [1.0],
        health__equal_rewards=[0.0] * 4 + [1.0] * 3 + [0.0] * 3,
        health__truncation=[0.0] * 10,
    )
    found = first_warnings([line | {"step": 10 * i} for i, line in enumerate(history)])
    assert [(each.step, each.rule) for each in found] == [
        (40, "equal rewards"),
        (90, "entropy collapse"),
    ]
    assert "from 1 to 0.1 nats" in found[1].problem
    assert "learning_rate" in found[1].remedy


def test_a_warning_whose_numbers_were_not_logged_is_told_all_the_same() -> None:
    (found,) = first_warnings([{"step": 3, "health/truncation": 1.0}])
    assert found.problem == "its numbers are not among the metrics"
