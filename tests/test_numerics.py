"""Exact top shares, quantiles and safe ratios."""

import math
from fractions import Fraction

import pytest
import torch

from rlent.numerics import (
    MAX_LOG_RATIO,
    fill,
    log_ratio,
    row_quantile,
    safe_ratio,
    share_count,
    top_count,
    top_share,
    top_share_within,
    unit,
    whole_count,
)
from tests.ranks import on_ranks


def chosen_by_sorting(values: list[float], count: int) -> list[bool]:
    """Largest first, earliest position first among equals: the definition, by a full sort."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    return [i in order[:count] for i in range(len(values))]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 1 / 3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_top_share_is_the_sorted_prefix(share: float, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(int(share * 1000))
    values = (torch.randn(6, 17, generator=g) * 3).to(dtype)
    mask = torch.rand(6, 17, generator=g) < 0.7
    flat = values[mask].tolist()
    count = math.ceil(Fraction(repr(share)).limit_denominator(10**9) * len(flat))
    assert top_share(values, mask, share)[mask].tolist() == chosen_by_sorting(flat, count)
    assert not top_share(values, mask, share)[~mask].any()


def test_top_share_breaks_ties_by_position() -> None:
    values = torch.tensor([[0.0, -0.0, 1.0, 0.0, 1.0]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert top_share(values, mask, 0.6).tolist() == [[True, False, True, False, True]]


def test_top_share_keeps_a_fifth_when_almost_all_entropies_are_zero() -> None:
    values = torch.zeros(1, 1000)
    values[0, ::10] = 1.0
    chosen = top_share(values, torch.ones(1, 1000, dtype=torch.bool), 0.2)
    assert chosen.sum() == 200
    assert chosen[0, ::10].all()


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_top_share_never_sees_masked_positions(junk: float) -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, junk]])
    mask = torch.tensor([[True, True, True, False]])
    assert top_share(values, mask, 0.3).tolist() == [[False, False, True, False]]
    assert top_share_within(values, mask, 0.3, torch.tensor([0])).tolist() == [
        [False, False, True, False]
    ]


def test_top_share_of_nothing_is_nothing() -> None:
    empty = torch.zeros(2, 3, dtype=torch.bool)
    assert not top_share(torch.rand(2, 3), empty, 0.5).any()
    assert not top_share_within(torch.rand(2, 3), empty, 0.5, torch.tensor([0, 1])).any()
    assert top_share(torch.rand(0, 3), torch.ones(0, 3, dtype=torch.bool), 0.5).shape == (0, 3)


@pytest.mark.parametrize("count", [0, 1, 5, 40, 1000])
def test_top_count_is_the_sorted_prefix(count: int) -> None:
    g = torch.Generator().manual_seed(count)
    values = torch.randint(0, 9, (6, 17), generator=g).double()
    mask = torch.rand(6, 17, generator=g) < 0.7
    chosen = top_count(values, mask, torch.tensor(count))
    assert chosen[mask].tolist() == chosen_by_sorting(values[mask].tolist(), count)
    assert not chosen[~mask].any()


def test_whole_count_rounds_down_exactly() -> None:
    for total in (0, 1, 9, 10, 29, 4999, 5000, 10**8):
        for share in (0.0, 2e-4, 0.1, 0.29, 1.0):
            exact = Fraction(repr(share)).limit_denominator(10**9) * total
            assert whole_count(share, torch.tensor(total)) == math.floor(exact)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.73, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_quantile_is_its_definition(share: float, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.rand(12, 12, generator=g, dtype=torch.float64).to(dtype)
    mask = torch.arange(12) <= torch.arange(12).unsqueeze(1)
    given = row_quantile(values, mask, share)
    assert given.dtype == dtype
    expected = []
    for row in range(12):
        ordered = sorted(values[row][mask[row]].tolist())
        place = share * (len(ordered) - 1)
        below, above = math.floor(place), math.ceil(place)
        expected.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert given.squeeze(1).tolist() == pytest.approx(expected, rel=tolerance)


def test_row_quantile_of_nothing() -> None:
    values = torch.full((2, 3), math.nan)
    assert row_quantile(values, torch.zeros(2, 3, dtype=torch.bool), 0.5).tolist() == [[0], [0]]
    assert row_quantile(values[:0], torch.zeros(0, 3, dtype=torch.bool), 0.5).shape == (0, 1)


def test_top_share_within_ranks_each_segment_alone() -> None:
    g = torch.Generator().manual_seed(3)
    values = torch.randint(0, 4, (5, 9), generator=g).float()  # many ties
    mask = torch.rand(5, 9, generator=g) < 0.8
    segment = torch.tensor([7, 2, 7, 2, 5])
    chosen = top_share_within(values, mask, 0.3, segment)
    for number in (2, 5, 7):
        rows = segment == number
        flat = values[rows][mask[rows]].tolist()
        count = math.ceil(Fraction(3, 10) * len(flat))
        assert chosen[rows][mask[rows]].tolist() == chosen_by_sorting(flat, count)


def test_share_count_is_exact_where_floats_are_not() -> None:
    totals = torch.arange(0, 20001)
    exact = [-(-total // 5) for total in range(20001)]
    assert share_count(0.2, totals).tolist() == exact
    assert math.ceil(0.2 * 15) == 3 or share_count(0.2, torch.tensor(15)) == 3
    assert share_count(0.1, torch.tensor(10**9)).item() == 10**8


def test_top_share_over_ranks_equals_one_rank() -> None:
    g = torch.Generator().manual_seed(5)
    values = torch.randint(0, 6, (6, 8), generator=g).float()
    mask = torch.rand(6, 8, generator=g) < 0.8
    parts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    whole = top_share(values, mask, 0.37)
    together = on_ranks(parts, lambda p, reduce: top_share(values[p], mask[p], 0.37, reduce))
    assert torch.equal(torch.cat(together), whole)


def test_fill_stops_junk_forward_and_backward() -> None:
    x = torch.tensor([1.0, math.nan, math.inf], requires_grad=True)
    mask = torch.tensor([True, False, False])
    (fill(x, mask) ** 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 0.0, 0.0]


def test_ratios_stay_finite_with_gradient_at_any_distance() -> None:
    logp = torch.tensor([[-500.0, -1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-1.0, -500.0, -1.0]], dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    exponent = log_ratio(logp, old, mask)
    assert safe_ratio(exponent).tolist() == [[math.exp(-20), math.exp(20), 1.0]]
    assert math.exp(MAX_LOG_RATIO) == pytest.approx(4.85e8, rel=1e-3)
    assert unit(exponent).tolist() == [[1.0, 1.0, 1.0]]
    unit(exponent).sum().backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == [[1.0, 1.0, 1.0]]
