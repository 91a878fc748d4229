"""The extremes of a scope, by plain loops over its tokens."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from rlent.interventions.extremes import extremes_of_all, extremes_of_groups, extremes_of_rows
from rlent.reduce import Reduce

GROUP = torch.tensor([7, 3, 7, 5, 3, 9])
MASK = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]).bool()


def values() -> Tensor:
    made = 1 + torch.rand(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.where(MASK, made, math.nan)


def by_loop(rows: list[int]) -> tuple[float, float]:
    found = [values()[row, place].item() for row in rows for place in range(3) if MASK[row, place]]
    return (min(found), max(found)) if found else (0.0, 0.0)


def test_of_rows() -> None:
    found = extremes_of_rows(values(), MASK)
    assert found.of_rows(GROUP) is found
    for row in range(6):
        assert (found.least[row].item(), found.most[row].item()) == by_loop([row])
    assert found.least.shape == found.most.shape == (6, 1)


def test_of_all() -> None:
    found = extremes_of_all(values(), MASK)
    assert (found.least.item(), found.most.item()) == by_loop(list(range(6)))
    nothing = extremes_of_all(values(), torch.zeros_like(MASK))
    assert (nothing.least.item(), nothing.most.item()) == (0.0, 0.0)


def test_of_groups_in_any_order() -> None:
    found = extremes_of_groups(values(), MASK, GROUP)
    wanted = torch.tensor([9, 3, 5, 7, 3])
    beside = found.of_rows(wanted)
    for place, number in enumerate(wanted.tolist()):
        expected = by_loop([row for row in range(6) if GROUP[row] == number])
        assert (beside.least[place].item(), beside.most[place].item()) == expected
    assert beside.least.shape == beside.most.shape == (5, 1)


@pytest.mark.parametrize("rows", [3, 0])
def test_of_all_ranks_some_of_which_may_have_nothing(rows: int) -> None:
    parts = [slice(0, rows), slice(rows, 6)]
    least: list[Tensor] = []
    most: list[Tensor] = []

    def kept(seen: list[Tensor], value: Tensor) -> Tensor:
        seen.append(value)
        return value

    recording = Reduce(min=partial(kept, least), max=partial(kept, most))
    for part in parts:
        extremes_of_all(values()[part], MASK[part], recording)
    together = Reduce(min=lambda _: min(least), max=lambda _: max(most))
    for part in parts:
        found = extremes_of_all(values()[part], MASK[part], together)
        assert (found.least.item(), found.most.item()) == by_loop(list(range(6)))
