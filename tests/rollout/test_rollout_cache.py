"""The cache by itself: what its views hold after any sequence of operations, and that steps copy nothing."""

import random

import pytest
import torch
from torch import Tensor

from rlent.rollout import cache
from rlent.rollout.cache import Prefix, RolloutCache

LAYERS, HEADS = 2, 2


def states(length: int, first: int) -> tuple[Tensor, Tensor]:
    """Keys of width 3 and values of width 5 that name their sequence."""
    keys = torch.arange(length).view(1, length, 1).expand(HEADS, length, 3) + float(first)
    values = torch.arange(length).view(1, length, 1).expand(HEADS, length, 5) - float(first)
    return keys.clone(), values.clone()


def prefix(length: int, first: int) -> Prefix:
    of_layers = tuple(states(length, first + layer) for layer in range(LAYERS))
    return Prefix(states=of_layers, logits=torch.full((4,), float(first)))


def append(cached: RolloutCache, expected: list[list[int]], new: int) -> None:
    """One decoding step: row ``i`` gets ``new + i``; the views must end with everything expected of each row."""
    rows = len(expected)
    for row in range(rows):
        expected[row].append(new + row)
    for layer in range(LAYERS):
        column = torch.arange(new, new + rows).view(rows, 1, 1, 1) + float(layer)
        keys, values = cached.update(
            column.expand(rows, HEADS, 1, 3), column.expand(rows, HEADS, 1, 5), layer
        )
        assert keys.shape[:3] == values.shape[:3] == (rows, HEADS, max(map(len, expected)))
        for row, numbers in enumerate(expected):
            wanted = torch.tensor(numbers) + float(layer)
            assert torch.equal(keys[row, 0, -len(numbers) :, 0], wanted)
            assert torch.equal(keys[row, -1, -len(numbers) :, -1], wanted)
            assert keys[row].isfinite().all()
            assert values[row].isfinite().all()


def test_any_sequence_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 3)
    choose = random.Random(0)
    for _ in range(30):
        cached, expected = RolloutCache(LAYERS), []
        for step in range(40):
            if not expected or choose.random() < 0.3:
                lengths = [choose.randint(1, 12) for _ in range(choose.randint(1, 3))]
                new = [prefix(n, 1000 * step + 100 * i) for i, n in enumerate(lengths)]
                twice = [one for one in new for _ in range(choose.randint(1, 2))]
                cached.admit(twice)
                expected += [[int(x) for x in one.states[0][0][0, :, 0]] for one in twice]
            if expected and choose.random() < 0.3:
                row = choose.randrange(len(expected))
                cached.drop(row)
                expected[row] = expected[-1]
                expected.pop()
            if expected:
                cached.narrow(max(map(len, expected)))
                expected = [list(numbers) for numbers in expected]
                append(cached, expected, 100_000 + 50 * step)
        assert cached.columns_per_layer == [max(map(len, expected), default=cached.width)] * LAYERS


def test_a_step_writes_into_the_same_storage_and_a_block_later_into_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 4)
    cached = RolloutCache(1)
    cached.admit([Prefix(states=(states(2, 0),), logits=torch.zeros(4))])
    places = []
    for _ in range(9):
        keys, _ = cached.update(torch.ones(1, HEADS, 1, 3), torch.ones(1, HEADS, 1, 5), 0)
        places.append(keys.untyped_storage().data_ptr())
    assert places[0] == places[3]
    assert places[3] != places[4]
    assert places[4] == places[8]


def test_a_copied_prefix_is_not_overwritten() -> None:
    cached = RolloutCache(LAYERS)
    cached.admit([prefix(3, 10), prefix(5, 20)])
    shown = cached.prefix(0, 3, torch.zeros(4))
    kept = shown.copy()
    cached.drop(0)
    assert kept.length == 3
    assert kept.states[0][0][0, :, 0].tolist() == [10.0, 11.0, 12.0]
    assert shown.states[0][0][0, :, 0].tolist() == [22.0, 23.0, 24.0]
