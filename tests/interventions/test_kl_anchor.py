"""KL anchor: penalty and gradient against a second formula in plain Python, and what is refused."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.aggregate import Step
from rlent.errors import ConfigError
from rlent.interventions import ForkingTokens, chain
from rlent.interventions.kl_anchor import KLAnchor
from rlent.objective import build_objective
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number, rows

CONFIGS = [
    KLAnchor(weight=0.3, estimator=estimator, tokens=tokens, average=average)
    for estimator in ("exact", "k1", "k2", "k3")
    for tokens in ("selected", "all")
    for average in ("selected", "all")
    if not (estimator == "exact" and tokens == "all")
]


def partly_selected(tokens: Tokens, seed: int = 3) -> Signal:
    """About half of the tokens learn (of row 0 none, of row 1 one), and some that are masked claim to."""
    g = torch.Generator().manual_seed(seed)
    select = torch.rand(tokens.mask.shape, generator=g) < 0.6
    select[0] &= ~tokens.mask[0]
    select[1] = False
    select[1, 0] = True
    penalty = torch.randn(tokens.mask.shape, generator=g, dtype=tokens.logp.dtype)
    return replace(make_signal(tokens), select=select, penalty=penalty)


def chosen_by_definition(config: KLAnchor, tokens: Tokens, signal: Signal) -> list[list[int]]:
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


def divergence_by_definition(config: KLAnchor, tokens: Tokens, row: int, position: int) -> Tensor:
    if config.estimator == "exact":
        assert tokens.ref_kl is not None
        return tokens.ref_kl[row, position]
    assert tokens.ref_logp is not None
    own, ref = tokens.logp[row, position], tokens.ref_logp[row, position].item()
    if config.estimator == "k1":
        return own - ref
    if config.estimator == "k2":
        return 0.5 * (own - ref) ** 2
    return torch.exp(ref - own) + own - ref - 1


def total_by_definition(
    config: KLAnchor, tokens: Tokens, signal: Signal, coefficients: list[list[float]]
) -> Tensor:
    """Sum of coefficient times penalty, one scalar of autograd for each token."""
    total = torch.zeros((), dtype=torch.float64)
    for row, positions in enumerate(chosen_by_definition(config, tokens, signal)):
        for position in range(tokens.mask.shape[1]):
            total = total + coefficients[row][position] * signal.penalty[row, position]
        length = int(tokens.mask[row].sum())
        factor = length / len(positions) if config.average == "selected" and positions else 1.0
        for position in positions:
            term = config.weight * factor * divergence_by_definition(config, tokens, row, position)
            total = total + coefficients[row][position] * term
    return total


def carrier(config: KLAnchor, tokens: Tokens) -> Tensor:
    """The tensor that the divergence's gradient goes to."""
    carries = tokens.ref_kl if config.estimator == "exact" else tokens.logp
    assert carries is not None
    return carries


def coefficients_of(tokens: Tokens) -> Tensor:
    g = torch.Generator().manual_seed(17)
    return torch.randn(tokens.mask.shape, generator=g, dtype=torch.float64)


def penalised(config: KLAnchor, tokens: Tokens, signal: Signal) -> Tensor:
    return chain([config]).on_tokens(tokens, signal)[0].penalty


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_penalty_and_gradient_are_the_formula(config: KLAnchor) -> None:
    tokens = make_tokens(rows=6, length=15)
    signal = partly_selected(tokens)
    coefficients = coefficients_of(tokens)
    given = (penalised(config, tokens, signal) * coefficients).sum()
    expected = total_by_definition(config, tokens, signal, coefficients.tolist())
    assert given.item() == pytest.approx(expected.item(), rel=1e-12)
    (given_gradient,) = torch.autograd.grad(given, carrier(config, tokens))
    (expected_gradient,) = torch.autograd.grad(expected, carrier(config, tokens))
    assert expected_gradient.any()
    torch.testing.assert_close(given_gradient, expected_gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("estimator", ["exact", "k1", "k2", "k3"])
def test_average_selected_is_the_mean_over_the_chosen_tokens_of_a_completion(
    estimator: str,
) -> None:
    """In the loss itself, whose penalty is divided by all tokens; what is counted there is TRL's number of tokens."""
    tokens = make_tokens(1, 15, mask=torch.arange(15).unsqueeze(0) < 12)
    signal = replace(make_signal(tokens), advantage=torch.zeros_like(tokens.logp))
    select = torch.arange(15).unsqueeze(0) % 3 == 0
    signal = replace(signal, select=select)
    config = KLAnchor(weight=0.3, estimator=estimator)
    after, metrics = config.on_tokens(tokens, signal)
    step = Step(micro_batches=1, tokens=torch.tensor(12.0), max_length=15)
    loss = build_objective("dapo")(tokens, after, counted=step, everything=step)
    kl = [divergence_by_definition(config, tokens, 0, position).item() for position in (0, 3, 6, 9)]
    assert loss.item() == pytest.approx(0.3 * sum(kl) / 4)
    assert number(metrics["kl"]) == pytest.approx(sum(kl) / 4)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_average_is_no_matter_where_all_tokens_are_tied(estimator: str) -> None:
    tokens = make_tokens()
    signal = make_signal(tokens)
    selected, everyone = (
        penalised(KLAnchor(estimator=estimator, tokens="all", average=average), tokens, signal)
        for average in ("selected", "all")
    )
    assert torch.equal(selected, everyone)


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_junk_at_masked_and_unchosen_positions_never_leaks(config: KLAnchor, junk: float) -> None:
    clean = make_tokens(rows=6, length=15)
    signal = partly_selected(clean)
    chosen = signal.select & clean.mask if config.tokens == "selected" else clean.mask
    assert not chosen.all()
    assert clean.ref_logp is not None
    assert clean.ref_kl is not None
    spoiled = replace(
        clean,
        logp=torch.where(chosen, clean.logp.detach(), junk).requires_grad_(),
        ref_logp=torch.where(chosen, clean.ref_logp, junk),
        ref_kl=torch.where(chosen, clean.ref_kl.detach(), junk).requires_grad_(),
    )
    results = []
    for tokens in (clean, spoiled):
        after, metrics = config.on_tokens(tokens, signal)
        loss = (after.penalty * coefficients_of(tokens)).sum()
        (gradient,) = torch.autograd.grad(loss, carrier(config, tokens))
        results.append((after.penalty, gradient, number(metrics["kl"])))
    assert results[1][0].isfinite().all()
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[1][1][~chosen].any()
    assert results[0][2] == results[1][2]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize("shape", [(3, 4), (0, 4)])
def test_batches_without_tokens(config: KLAnchor, shape: tuple[int, int]) -> None:
    tokens = make_tokens(*shape, mask=torch.zeros(shape, dtype=torch.bool))
    signal = make_signal(tokens)
    after, metrics = config.on_tokens(tokens, signal)
    assert torch.equal(after.penalty, signal.penalty)
    (gradient,) = torch.autograd.grad(after.penalty.sum(), carrier(config, tokens))
    assert not gradient.any()
    assert number(metrics["kl"]) == 0


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_micro_batches_see_what_the_whole_batch_sees(config: KLAnchor) -> None:
    tokens = make_tokens(rows=6, length=15)
    signal = partly_selected(tokens)
    whole = penalised(config, tokens, signal)
    for start in range(0, 6, 2):
        part = slice(start, start + 2)
        assert torch.equal(penalised(config, rows(tokens, part), rows(signal, part)), whole[part])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_dtype_is_kept(config: KLAnchor, dtype: torch.dtype) -> None:
    tokens = make_tokens(dtype=dtype)
    assert penalised(config, tokens, make_signal(tokens)).dtype == dtype


def test_neutral_leaves_the_penalty_alone() -> None:
    tokens = make_tokens()
    signal = partly_selected(tokens)
    after, metrics = KLAnchor.neutral().on_tokens(tokens, signal)
    assert after is signal
    assert metrics


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_the_metric_is_the_mean_over_chosen_tokens(config: KLAnchor) -> None:
    tokens = make_tokens(rows=6, length=15)
    signal = partly_selected(tokens)
    _, metrics = chain([config]).on_tokens(tokens, signal)
    kl = [
        divergence_by_definition(config, tokens, row, position).item()
        for row, positions in enumerate(chosen_by_definition(config, tokens, signal))
        for position in positions
    ]
    assert metrics.keys() == {"kl_anchor/kl"}
    assert number(metrics["kl_anchor/kl"]) == pytest.approx(sum(kl) / len(kl))


def test_needs_follow_the_estimator() -> None:
    assert KLAnchor().needs == {"ref_kl"}
    for estimator in ("k1", "k2", "k3"):
        assert KLAnchor(estimator=estimator).needs == {"ref_logp"}


def test_a_selection_must_come_first() -> None:
    chain([ForkingTokens(), KLAnchor()])
    with pytest.raises(ConfigError, match="kl_anchor has read before it"):
        chain([KLAnchor(), ForkingTokens()])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -0.1}, "weight must be 0 or positive"),
        ({"weight": math.nan}, "weight must be 0 or positive"),
        ({"weight": math.inf}, "weight must be 0 or positive"),
        ({"tokens": "all"}, "tokens: all cannot have estimator: exact"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KLAnchor(**settings)
