"""Aggregates against plain loops, and what they promise about micro-batches."""

import pytest
import torch
from torch import Tensor

from rlent.aggregate import AGGREGATES, Step
from rlent.numerics import fill

MAX_LENGTH = 9


def make_values(rows: int = 4, length: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Values, 0 where nothing is to be added, and the tokens that are counted: 5, 2, 4 and 1 of a row."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([5, 2, 4, 1])[:rows].unsqueeze(1)
    count = torch.arange(length).expand(rows, length) < lengths
    return fill(torch.randn(rows, length, generator=g, dtype=torch.float64), count), count


def by_loops(name: str, values: Tensor, count: Tensor, step: Step) -> float:
    rows = values.tolist()
    counts = [max(sum(row), 1) for row in count.tolist()]
    total, share = sum(sum(row) for row in rows), 1 / step.micro_batches
    match name:
        case "sequence_mean":
            means = [sum(row) / n for row, n in zip(rows, counts, strict=True)]
            return share * sum(means) / len(rows)
        case "sequence_sum":
            return share * total / len(rows)
        case "token_mean":
            return share * total / max(int(count.sum()), 1)
        case "step_token_mean":
            return total / max(step.tokens.item(), 1)
        case "constant":
            return share * total / (len(rows) * step.max_length)
    raise AssertionError(f"no loop for {name}")


def step_of(count: Tensor, micro_batches: int = 1) -> Step:
    return Step(micro_batches=micro_batches, tokens=count.sum(), max_length=MAX_LENGTH)


def summed_over_micro_batches(name: str, values: Tensor, count: Tensor, rows: int) -> float:
    parts = list(zip(values.split(rows), count.split(rows), strict=True))
    step = step_of(count, len(parts))
    return sum(AGGREGATES[name](part, counted, step).item() for part, counted in parts)


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("name", AGGREGATES)
def test_each_aggregate_is_its_formula(name: str, micro_batches: int) -> None:
    values, count = make_values()
    step = Step(micro_batches=micro_batches, tokens=torch.tensor(17.5), max_length=MAX_LENGTH)
    expected = by_loops(name, values, count, step)
    assert AGGREGATES[name](values, count, step).item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", sorted(AGGREGATES.keys() - {"token_mean"}))
def test_the_split_into_micro_batches_does_not_matter(name: str, rows: int) -> None:
    values, count = make_values()
    whole = AGGREGATES[name](values, count, step_of(count)).item()
    assert summed_over_micro_batches(name, values, count, rows) == pytest.approx(whole, abs=1e-14)


@pytest.mark.parametrize("rows", [1, 2])
def test_token_mean_depends_on_the_split(rows: int) -> None:
    values, count = make_values()
    whole = AGGREGATES["token_mean"](values, count, step_of(count)).item()
    split = summed_over_micro_batches("token_mean", values, count, rows)
    assert split != pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_empty_row_adds_nothing_and_stays_in_the_mean_over_sequences(name: str) -> None:
    values, count = make_values()
    count[1] = False
    values = fill(values, count)
    expected = by_loops(name, values, count, step_of(count))
    assert AGGREGATES[name](values, count, step_of(count)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", AGGREGATES)
def test_nothing_counted_gives_zero_and_a_finite_gradient(name: str) -> None:
    values = torch.zeros(3, 4, requires_grad=True)
    count = torch.zeros(3, 4, dtype=torch.bool)
    loss = AGGREGATES[name](values, count, step_of(count))
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.item() == 0.0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["sequence_mean", "sequence_sum", "constant"])
def test_sequences_that_were_given_up_leave_the_mean(name: str) -> None:
    values, count = make_values()
    given_up = torch.zeros(len(values), dtype=torch.bool)
    given_up[1] = True
    count = count & ~given_up.unsqueeze(1)
    values = fill(values, count)
    kept = Step(
        micro_batches=1,
        tokens=count.sum(),
        max_length=MAX_LENGTH,
        sequences=(~given_up).sum(),
    )
    expected = by_loops(name, values[~given_up], count[~given_up], step_of(count))
    assert AGGREGATES[name](values, count, kept).item() == pytest.approx(expected)


def test_the_denominator_counts_tokens_whose_value_is_zero() -> None:
    values = torch.tensor([[4.0, 0.0, 0.0, 0.0]])
    count = torch.tensor([[True, True, True, False]])
    losses = {name: AGGREGATES[name](values, count, step_of(count)).item() for name in AGGREGATES}
    assert losses == pytest.approx(
        {
            "sequence_mean": 4 / 3,
            "sequence_sum": 4.0,
            "token_mean": 4 / 3,
            "step_token_mean": 4 / 3,
            "constant": 4 / 9,
        }
    )
