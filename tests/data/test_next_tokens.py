"""Budgets, tier probabilities and draws of the next-token curriculum, against the formulas in plain Python."""

import math
from collections import Counter
from typing import Any

import pytest

from rlent.data.next_tokens import TIERS, Curriculum, draw_tasks, tiers_of


@pytest.mark.parametrize("step", [0, 1, 37, 50, 99])
def test_the_budget_decays_to_its_share(step: int) -> None:
    expected = math.floor(800 * math.exp(math.log(0.2) * step / 100))
    assert Curriculum().budget_at(step / 100) == expected
    assert Curriculum().budget_at(0.0) == 800
    assert Curriculum().budget_at(1.0) == 160


def test_the_budget_has_a_floor() -> None:
    short = Curriculum(budget=10, least_budget=4, decay=0.01)
    assert [short.budget_at(step / 4) for step in range(5)] == [10, 4, 4, 4, 4]


def test_probabilities_move_linearly_between_the_knots() -> None:
    curriculum = Curriculum(knots=(0.25, 0.75), first=(0.8, 0.2, 0.0), last=(0.0, 0.4, 0.6))
    expected = {
        0.0: (0.8, 0.2, 0.0),
        0.25: (0.8, 0.2, 0.0),
        0.5: (0.4, 0.3, 0.3),
        0.625: (0.2, 0.35, 0.45),
        0.75: (0.0, 0.4, 0.6),
        1.0: (0.0, 0.4, 0.6),
    }
    for progress, probabilities in expected.items():
        assert curriculum.probabilities_at(progress) == pytest.approx(probabilities, abs=1e-12)


def test_tiers_are_thirds_by_rank() -> None:
    assert tiers_of([0.5, 0.1, 0.9, 0.3, 0.2, 0.7, 0.3]) == ([1, 4], [3, 6], [0, 5, 2])
    assert tiers_of([1.0, 1.0, 1.0]) == ([0], [1], [2])
    with pytest.raises(ValueError, match="2 tokens can be asked for"):
        tiers_of([0.1, 0.2])


def test_tasks_follow_the_steps() -> None:
    entropies = [number / 30 for number in range(30)]
    curriculum = Curriculum(budget=100)
    tasks = draw_tasks(entropies, curriculum, steps=40, prompts=200, seed=3)
    assert [task.step for task in tasks] == [step for step in range(40) for _ in range(200)]
    tiers = dict(zip(TIERS, tiers_of(entropies), strict=True))
    for task in tasks:
        assert task.token in tiers[task.tier]
        assert task.budget == math.floor(100 * 0.2 ** (task.step / 40) + 1e-12)
    for part, expected in (
        (slice(0, 12 * 200), (0.6, 0.3, 0.1)),
        (slice(28 * 200, None), (0.1, 0.3, 0.6)),
    ):
        counted = Counter(task.tier for task in tasks[part])
        total = counted.total()
        assert [counted[tier] / total for tier in TIERS] == pytest.approx(expected, abs=0.05)
    assert len({task.token for task in tasks}) == 30


def test_tasks_follow_from_the_seed() -> None:
    entropies = [0.1, 0.5, 0.3, 0.9]
    first, again, other = (
        draw_tasks(entropies, Curriculum(), steps=5, prompts=4, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"least_budget": 0}, "least_budget"),
        ({"budget": 5, "least_budget": 6}, "least_budget"),
        ({"decay": 0.0}, "decay"),
        ({"decay": 1.1}, "decay"),
        ({"knots": (0.5, 0.5)}, "knots"),
        ({"knots": (-0.1, 0.5)}, "knots"),
        ({"first": (0.5, 0.5, 0.5)}, "first"),
        ({"last": (1.5, -0.5, 0.0)}, "last"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Curriculum(**options)
