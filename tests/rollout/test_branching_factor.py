"""The branching factor against plain loops."""

import math
import random

import pytest
import torch

from rlent.rollout.branching_factor import branching_factor


def noted(lengths: list[int], seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    numbers = random.Random(seed)
    log_probs = [[-numbers.expovariate(1.0) for _ in range(n)] for n in lengths]
    entropies = [[numbers.uniform(0, 2) for _ in range(n)] for n in lengths]
    return [torch.tensor(row) for row in log_probs], [torch.tensor(row) for row in entropies]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("limit", [4, 6, 7, 50])
def test_surprisal_of_long_completions_and_entropy_of_short_ones(limit: int) -> None:
    log_probs, entropies = noted([3, 9, 6, 8])
    if limit < 6.5:
        expected = math.exp(-mean([mean(row.tolist()) for row in log_probs]))
    else:
        expected = math.exp(mean([value for row in entropies for value in row.tolist()]))
    assert branching_factor(log_probs, entropies, limit=limit) == pytest.approx(expected)


@pytest.mark.parametrize("limit", [3, 7, 8, 50])
def test_the_released_form_drops_the_tail(limit: int) -> None:
    lengths = [3, 9, 12, 8, 8, 10, 7]
    log_probs, entropies = noted(lengths)
    # Position 8 is reached by 3 completions, so 8 positions count.
    assert [sum(n > place for n in lengths) for place in (7, 8)] == [5, 3]
    if limit < 8:
        reaching = [row[:8].tolist() for row in log_probs if len(row) >= 8]
        expected = math.exp(-mean([mean(row) for row in reaching]))
    else:
        columns = [[row[t].item() for row in entropies if len(row) > t] for t in range(8)]
        expected = math.exp(mean([mean(column) for column in columns]))
    given = branching_factor(log_probs, entropies, limit=limit, as_released=True)
    assert given == pytest.approx(expected)


def test_the_released_form_ends_at_the_quantile_of_lengths() -> None:
    """20 completions of 5 tokens and 4 of 9: the 0.95 quantile lies on 9, without one of the four below it."""
    for long, counted in ((4, 9), (1, 5)):
        log_probs, entropies = noted([5] * 20 + [9] * long)
        columns = [[row[t].item() for row in entropies if len(row) > t] for t in range(counted)]
        expected = math.exp(mean([mean(column) for column in columns]))
        given = branching_factor(log_probs, entropies, as_released=True)
        assert given == pytest.approx(expected)


@pytest.mark.parametrize("limit", [2, 50])
def test_both_forms_agree_on_equal_lengths(limit: int) -> None:
    log_probs, entropies = noted([6] * 5)
    released = branching_factor(log_probs, entropies, limit=limit, as_released=True)
    assert released == pytest.approx(branching_factor(log_probs, entropies, limit=limit))


def test_a_uniform_distribution_has_its_size() -> None:
    for length in (3, 80):
        values = [torch.full((length,), math.log(7.0))]
        assert branching_factor([-values[0]], values) == pytest.approx(7.0)


def test_completions_without_a_token_do_not_count() -> None:
    log_probs, entropies = noted([4, 0, 5])
    whole = branching_factor([log_probs[0], log_probs[2]], [entropies[0], entropies[2]])
    assert branching_factor(log_probs, entropies) == whole


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(ValueError, match="with a token"):
        branching_factor([torch.empty(0)], [torch.empty(0)])
    log_probs, entropies = noted([5, 5, 5])
    with pytest.raises(ValueError, match="4 completions"):
        branching_factor(log_probs, entropies, as_released=True)
