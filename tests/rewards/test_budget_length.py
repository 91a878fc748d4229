from typing import Any

import pytest

from rlent_rewards import BudgetLength


def rewards(reward: BudgetLength, lengths: list[int], **columns: Any) -> list[float]:
    ids = [list(range(length)) for length in lengths]
    return reward(["a text of any length"] * len(lengths), completion_ids=ids, **columns)


@pytest.mark.parametrize("budget", [1, 4, 7, 2.5])
def test_a_triangle_from_nothing_to_twice_the_budget(budget: float) -> None:
    lengths = list(range(18))
    expected = []
    for length in lengths:
        rising, falling = length / budget, 2 - length / budget
        expected.append(rising if length <= budget else falling if falling > 0 else 0.0)
    found = rewards(BudgetLength(), lengths, budget=[budget] * 18)
    assert found == pytest.approx(expected, abs=1e-15)


def test_every_row_has_its_own_budget() -> None:
    reward = BudgetLength(budget_column="tokens")
    assert rewards(reward, [4, 4, 4, 0], tokens=[4, 8, 2, 5]) == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("budget", [0, -1, float("inf"), float("nan"), "4", None, True])
def test_a_budget_must_be_a_positive_number(budget: object) -> None:
    with pytest.raises(ValueError, match="row 1 of column 'budget' must hold a positive number"):
        rewards(BudgetLength(), [1, 2], budget=[3, budget])


def test_without_the_column_or_the_tokens_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no column 'budget'"):
        rewards(BudgetLength(), [1])
    with pytest.raises(ValueError, match="budget_length: completion_ids must be passed"):
        BudgetLength()(["7"], budget=[1])
