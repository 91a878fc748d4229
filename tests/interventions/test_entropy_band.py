"""Entropy band: edges and penalty against a second formula in plain Python, value and gradient."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.interventions import ForkingTokens, chain
from rlent.interventions.entropy_band import EntropyBand
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number, rows

BANDS: list[dict[str, Any]] = [
    {"edges": "quantile"},
    {"edges": "quantile", "low_quantile": 0.3, "high_quantile": 0.9},
    {"edges": "mad"},
    {"edges": "fixed", "low": 0.6, "high": 1.1},
]
CONFIGS = [
    EntropyBand(**band, tokens=tokens, edges_from=edges_from, weight_low=0.3, weight_high=0.7)
    for band in BANDS
    for tokens in ("selected", "all")
    for edges_from in ("current", "old")
    if not (band["edges"] == "fixed" and edges_from == "old")
]


def quantile_by_definition(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] * (1 - (place - below)) + ordered[above] * (place - below)


def band_by_definition(config: EntropyBand, values: list[float]) -> tuple[float, float]:
    if config.edges == "fixed":
        assert config.low is not None
        assert config.high is not None
        return config.low, config.high
    if config.edges == "quantile":
        low, high = config.low_quantile, config.high_quantile
        return quantile_by_definition(values, low), quantile_by_definition(values, high)
    centre = quantile_by_definition(values, 0.5)
    deviation = quantile_by_definition([abs(value - centre) for value in values], 0.5)
    return max(0.0, centre - max(1e-6, 1.4826 * deviation)), centre


def chosen_by_definition(config: EntropyBand, tokens: Tokens, signal: Signal) -> list[list[int]]:
    """Positions of each row."""
    count, length = tokens.mask.shape
    return [
        [
            position
            for position in range(length)
            if tokens.mask[row, position]
            and (config.tokens == "all" or signal.select[row, position])
        ]
        for row in range(count)
    ]


def bands_by_definition(
    config: EntropyBand, tokens: Tokens, signal: Signal
) -> list[tuple[float, float] | None]:
    source = tokens.entropy if config.edges_from == "current" else tokens.old_entropy
    assert source is not None
    return [
        band_by_definition(config, [source[row, position].item() for position in positions])
        if positions
        else None
        for row, positions in enumerate(chosen_by_definition(config, tokens, signal))
    ]


def total_by_definition(
    config: EntropyBand, tokens: Tokens, signal: Signal, coefficients: list[list[float]]
) -> Tensor:
    """Sum of coefficient times penalty, one scalar of autograd for each token."""
    total = sum(
        coefficients[row][position] * signal.penalty[row, position]
        for row in range(len(coefficients))
        for position in range(len(coefficients[row]))
    )
    bands = bands_by_definition(config, tokens, signal)
    for row, positions in enumerate(chosen_by_definition(config, tokens, signal)):
        for position in positions:
            band = bands[row]
            assert band is not None
            entropy = tokens.entropy[row, position]
            if entropy.item() < band[0]:
                term = config.weight_low * (band[0] - entropy)
            elif entropy.item() > band[1]:
                term = config.weight_high * (entropy - band[1])
            else:
                continue
            total = total + coefficients[row][position] * term
    assert isinstance(total, Tensor)
    return total


def partly_selected(tokens: Tokens, seed: int = 3) -> Signal:
    """About half of the tokens learn (of row 0 none, of row 1 one), and some that are masked claim to."""
    g = torch.Generator().manual_seed(seed)
    select = torch.rand(tokens.mask.shape, generator=g) < 0.6
    select[0] &= ~tokens.mask[0]
    select[1] = False
    select[1, 0] = True
    penalty = torch.randn(tokens.mask.shape, generator=g, dtype=tokens.logp.dtype)
    return replace(make_signal(tokens), select=select, penalty=penalty)


def penalised(config: EntropyBand, tokens: Tokens, signal: Signal) -> Tensor:
    return chain([config]).on_tokens(tokens, signal)[0].penalty


def coefficients_of(tokens: Tokens) -> Tensor:
    g = torch.Generator().manual_seed(17)
    return torch.randn(tokens.mask.shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_penalty_and_gradient_are_the_formula(config: EntropyBand) -> None:
    tokens = make_tokens(rows=6, length=15)
    signal = partly_selected(tokens)
    coefficients = coefficients_of(tokens)
    given = (penalised(config, tokens, signal) * coefficients).sum()
    expected = total_by_definition(config, tokens, signal, coefficients.tolist())
    assert given.item() == pytest.approx(expected.item(), rel=1e-12)
    (given_gradient,) = torch.autograd.grad(given, tokens.entropy)
    (expected_gradient,) = torch.autograd.grad(expected, tokens.entropy)
    assert (expected_gradient < 0).any()
    assert (expected_gradient > 0).any()
    torch.testing.assert_close(given_gradient, expected_gradient, rtol=1e-12, atol=1e-14)


def test_the_weights_act_on_their_own_sides() -> None:
    entropy = torch.tensor([[0.1, 0.5, 2.0]], dtype=torch.float64)
    tokens = replace(make_tokens(1, 3, mask=torch.ones(1, 3, dtype=torch.bool)), entropy=entropy)
    band = {"edges": "fixed", "low": 0.3, "high": 1.0}
    for weights, expected in (((2.0, 0.0), [0.4, 0, 0]), ((0.0, 3.0), [0, 0, 3.0])):
        config = EntropyBand(**band, weight_low=weights[0], weight_high=weights[1])
        given = penalised(config, tokens, make_signal(tokens))
        assert given[0].tolist() == pytest.approx(expected)


def test_descending_the_penalty_moves_entropies_into_the_band() -> None:
    entropy = torch.tensor([[0.1, 0.5, 2.0]], dtype=torch.float64, requires_grad=True)
    tokens = replace(make_tokens(1, 3, mask=torch.ones(1, 3, dtype=torch.bool)), entropy=entropy)
    config = EntropyBand(edges="fixed", low=0.3, high=1.0)
    (gradient,) = torch.autograd.grad(penalised(config, tokens, make_signal(tokens)).sum(), entropy)
    assert gradient[0].tolist() == [-0.01, 0.0, 0.01]


@pytest.mark.parametrize("edges", ["quantile", "mad"])
def test_half_of_the_tokens_are_above_a_relative_band(edges: str) -> None:
    """Whatever their entropy: the band moves with the policy."""
    tokens = make_tokens(1, 10, mask=torch.ones(1, 10, dtype=torch.bool))
    for shift in (0.0, 3.0):
        moved = replace(tokens, entropy=tokens.entropy.detach() + shift)
        _, metrics = EntropyBand(edges=edges).on_tokens(moved, make_signal(moved))
        assert number(metrics["above"]) == 0.5


def test_old_edges_stay_where_they_were_while_the_policy_moves() -> None:
    tokens = make_tokens(1, 10, mask=torch.ones(1, 10, dtype=torch.bool))
    assert tokens.old_entropy is not None
    moved = replace(tokens, entropy=tokens.old_entropy + 3.0)
    _, metrics = EntropyBand(edges_from="old").on_tokens(moved, make_signal(moved))
    assert number(metrics["above"]) == 1.0


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_junk_at_masked_and_unchosen_positions_never_leaks(
    config: EntropyBand, junk: float
) -> None:
    clean = make_tokens(rows=6, length=15)
    signal = partly_selected(clean)
    chosen = signal.select & clean.mask if config.tokens == "selected" else clean.mask
    assert not chosen.all()
    assert clean.old_entropy is not None
    spoiled = replace(
        clean,
        entropy=torch.where(chosen, clean.entropy.detach(), junk).requires_grad_(),
        old_entropy=torch.where(chosen, clean.old_entropy, junk),
    )
    results = []
    for tokens in (clean, spoiled):
        after, metrics = config.on_tokens(tokens, signal)
        loss = (after.penalty * coefficients_of(tokens)).sum()
        (gradient,) = torch.autograd.grad(loss, tokens.entropy)
        results.append((after.penalty, gradient, {k: number(v) for k, v in metrics.items()}))
    assert results[1][0].isfinite().all()
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[1][1][~chosen].any()
    assert results[0][2] == results[1][2]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize("shape", [(3, 4), (0, 4)])
def test_batches_without_tokens(config: EntropyBand, shape: tuple[int, int]) -> None:
    tokens = make_tokens(*shape, mask=torch.zeros(shape, dtype=torch.bool))
    signal = make_signal(tokens)
    after, metrics = config.on_tokens(tokens, signal)
    assert torch.equal(after.penalty, signal.penalty)
    (gradient,) = torch.autograd.grad(after.penalty.sum(), tokens.entropy)
    assert not gradient.any()
    assert all(number(metric) == 0 for metric in metrics.values())


@pytest.mark.parametrize("edges", ["quantile", "mad"])
def test_a_single_token_and_equal_entropies_are_inside_their_band(edges: str) -> None:
    mask = torch.tensor([[False, True, False, False], [True, True, True, False]])
    tokens = make_tokens(2, 4, mask=mask)
    entropy = tokens.entropy.detach().clone()
    entropy[1] = 0.3
    tokens = replace(tokens, entropy=entropy.requires_grad_())
    after, metrics = EntropyBand(edges=edges).on_tokens(tokens, make_signal(tokens))
    (gradient,) = torch.autograd.grad(after.penalty.sum(), entropy)
    assert not after.penalty.any()
    assert not gradient.any()
    assert number(metrics["width"]) == pytest.approx(0.0 if edges == "quantile" else 1e-6)


def test_the_lower_edge_of_mad_is_never_negative() -> None:
    entropy = torch.tensor([[0.0, 0.1, 3.0, 5.0]], dtype=torch.float64)
    tokens = replace(make_tokens(1, 4, mask=torch.ones(1, 4, dtype=torch.bool)), entropy=entropy)
    _, metrics = EntropyBand(edges="mad").on_tokens(tokens, make_signal(tokens))
    # Median 1.55, deviations 1.55, 1.45, 1.45, 3.45: 1.4826 * 1.5 is more than the median.
    assert number(metrics["width"]) == pytest.approx(1.55)
    assert number(metrics["below"]) == 0.0


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_micro_batches_see_what_the_whole_batch_sees(config: EntropyBand) -> None:
    tokens = make_tokens(rows=6, length=15)
    signal = partly_selected(tokens)
    whole = penalised(config, tokens, signal)
    for start in range(0, 6, 2):
        part = slice(start, start + 2)
        assert torch.equal(penalised(config, rows(tokens, part), rows(signal, part)), whole[part])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_dtype_is_kept(config: EntropyBand, dtype: torch.dtype) -> None:
    tokens = make_tokens(dtype=dtype)
    assert penalised(config, tokens, make_signal(tokens)).dtype == dtype


def test_neutral_leaves_the_penalty_alone() -> None:
    tokens = make_tokens()
    signal = partly_selected(tokens)
    after, metrics = EntropyBand.neutral().on_tokens(tokens, signal)
    assert after is signal
    assert metrics


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_metrics_are_shares_and_means_of_chosen_tokens(config: EntropyBand) -> None:
    tokens = make_tokens(rows=6, length=15)
    signal = partly_selected(tokens)
    _, metrics = chain([config]).on_tokens(tokens, signal)
    below = above = 0
    entropies: list[float] = []
    bands = bands_by_definition(config, tokens, signal)
    for row, positions in enumerate(chosen_by_definition(config, tokens, signal)):
        for position in positions:
            band, entropy = bands[row], tokens.entropy[row, position].item()
            assert band is not None
            below, above = below + (entropy < band[0]), above + (entropy > band[1])
            entropies.append(entropy)
    widths = [band[1] - band[0] for band in bands if band is not None]
    expected = {
        "entropy_band/below": below / len(entropies),
        "entropy_band/above": above / len(entropies),
        "entropy_band/width": sum(widths) / len(widths),
        "entropy_band/entropy_chosen": sum(entropies) / len(entropies),
    }
    assert {name: number(metric) for name, metric in metrics.items()} == pytest.approx(expected)


def test_needs_follow_the_settings() -> None:
    assert EntropyBand().needs == {"entropy_grad"}
    assert EntropyBand(edges_from="old").needs == {"entropy_grad", "old_entropy"}
    assert EntropyBand(edges="fixed", low=0.1, high=0.2).needs == {"entropy_grad"}


def test_a_selection_must_come_first() -> None:
    chain([ForkingTokens(), EntropyBand()])
    with pytest.raises(ConfigError, match="entropy_band has read before it"):
        chain([EntropyBand(), ForkingTokens()])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_low": -0.1}, "weight_low must be 0 or positive"),
        ({"weight_high": math.nan}, "weight_high must be 0 or positive"),
        ({"weight_high": math.inf}, "weight_high must be 0 or positive"),
        ({"low_quantile": -0.1}, "low_quantile and high_quantile must be in order"),
        ({"low_quantile": 0.6}, "low_quantile and high_quantile must be in order"),
        ({"high_quantile": 1.1}, "low_quantile and high_quantile must be in order"),
        ({"high_quantile": math.nan}, "low_quantile and high_quantile must be in order"),
        ({"edges": "fixed"}, "edges: fixed needs low and high"),
        ({"edges": "fixed", "low": 0.1}, "edges: fixed needs low and high"),
        ({"edges": "fixed", "high": 0.1}, "edges: fixed needs low and high"),
        ({"edges": "fixed", "low": 0.2, "high": 0.1}, "low and high must be in order"),
        ({"edges": "fixed", "low": -0.2, "high": 0.1}, "low and high must be in order"),
        ({"edges": "fixed", "low": 0.2, "high": math.inf}, "low and high must be in order"),
        ({"edges": "fixed", "low": 0.1, "high": 0.2, "edges_from": "old"}, "has no effect with"),
        ({"low": 0.1}, "low belongs to edges: fixed, but edges: quantile is set"),
        ({"edges": "mad", "high": 0.1}, "high belongs to edges: fixed, but edges: mad is set"),
        ({"edges": "mad", "low_quantile": 0.2}, "low_quantile belongs to edges: quantile"),
        ({"edges": "mad", "high_quantile": 0.7}, "high_quantile belongs to edges: quantile"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EntropyBand(**settings)
