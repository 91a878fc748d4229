"""SIREN: which tokens, what distance, which gradient, and the anchor over a run's life."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.aggregate import Step
from rlent.distributions import Statistic
from rlent.interventions import Siren, chain
from rlent.objective import build_objective
from rlent.types import Rollouts, Tokens
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number

NUCLEUS, OPEN = Statistic("nucleus_entropy", 0.8), Statistic("open_nucleus_entropy", 0.8)
LENGTHS = [7, 5, 1, 0]
MASK = torch.arange(7).expand(4, 7) < torch.tensor(LENGTHS).unsqueeze(1)


def records(seed: int = 0) -> tuple[Tokens, Rollouts]:
    tokens = make_tokens(rows=4, length=7, seed=seed, mask=MASK)
    return tokens, make_rollouts(tokens)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def kept(entropy: Tensor, share: float) -> list[list[int]]:
    """Positions above the quantile, for each completion."""
    rows = []
    for row, length in zip(entropy.tolist(), LENGTHS, strict=True):
        values = row[:length]
        bound = quantile(values, share) if values else 0.0
        rows.append([t for t, value in enumerate(values) if value > bound])
    return rows


def mean(entropy: Tensor, share: float, *, empty: bool = False) -> float:
    """Over completions with kept tokens, or over all, of the mean of the kept ones."""
    rows = [
        [row[t] for t in positions]
        for row, positions in zip(entropy.tolist(), kept(entropy, share), strict=True)
    ]
    means = [sum(row) / len(row) for row in rows if row]
    return sum(means) / (len(rows) if empty else len(means))


def run(config: Siren, tokens: Tokens, rollouts: Rollouts) -> tuple[Tensor, dict[str, Any]]:
    links, signal = chain([config]), make_signal(tokens)
    links.on_advantages(rollouts, signal.advantage)
    after, metrics = links.on_tokens(tokens, signal)
    return after.penalty, metrics


@pytest.mark.parametrize("share", [0.8, 0.5, 0.0])
def test_the_penalty_of_every_token(share: float) -> None:
    tokens, rollouts = records()
    config = Siren(weight=0.1, quantile=share, anchor=0.25)
    penalty, metrics = run(config, tokens, rollouts)
    distance = mean(rollouts.old_statistics[NUCLEUS], share) - 0.25
    entropy = tokens.statistics[NUCLEUS]
    positions = kept(entropy, share)
    expected = [[0.0] * 7 for _ in LENGTHS]
    for i, chosen in enumerate(positions):
        for t in chosen:
            scale = LENGTHS[i] / len(chosen)
            expected[i][t] = 2 * 0.1 * distance * scale * entropy[i, t].item()
    torch.testing.assert_close(penalty.detach(), torch.tensor(expected).double())
    assert number(metrics["siren/loss"]) == pytest.approx(0.1 * distance**2)
    assert number(metrics["siren/anchor"]) == 0.25
    count = sum(map(len, positions))
    assert number(metrics["siren/selected"]) == pytest.approx(count / 13)
    total = sum(entropy[i, t].item() for i, chosen in enumerate(positions) for t in chosen)
    assert number(metrics["siren/entropy"]) == pytest.approx(total / count)


def test_the_gradient_is_that_of_the_square() -> None:
    """Where the mean is over completions, and all of them have selected tokens."""
    mask = torch.arange(7).expand(2, 7) < torch.tensor([[7], [5]])
    tokens = make_tokens(rows=2, length=7, mask=mask)
    entropy = tokens.statistics[NUCLEUS]
    rollouts = replace(make_rollouts(tokens), old_statistics={NUCLEUS: entropy.detach()})
    signal = replace(make_signal(tokens), advantage=torch.zeros(2, 7).double())
    links = chain([Siren(weight=0.3, anchor=0.1)])
    links.on_advantages(rollouts, signal.advantage)
    after, _ = links.on_tokens(tokens, signal)
    step = Step(micro_batches=1, tokens=mask.sum().double(), max_length=7)
    loss = build_objective("grpo")(tokens, after, counted=step, everything=step)
    (given,) = torch.autograd.grad(loss, entropy)
    selected = Siren().selected(entropy, mask)
    per_row = (entropy * selected).sum(1) / selected.sum(1)
    (expected,) = torch.autograd.grad(0.3 * (per_row.mean() - 0.1) ** 2, entropy)
    torch.testing.assert_close(given, expected)


def test_the_first_batch_is_the_anchor_and_a_checkpoint_holds_it() -> None:
    tokens, first = records()
    _, second = records(seed=1)
    links, signal = chain([Siren(weight=0.1)]), make_signal(tokens)
    assert links.state_dict() == {"siren": {"anchor": None}}
    links.on_advantages(first, signal.advantage)
    after, _ = links.on_tokens(tokens, signal)
    assert not after.penalty.any()
    anchor = mean(first.old_statistics[NUCLEUS], 0.8)
    assert links.state_dict()["siren"]["anchor"] == pytest.approx(anchor)
    resumed = chain([Siren(weight=0.1)])
    resumed.load_state_dict(links.state_dict())
    distance = mean(second.old_statistics[NUCLEUS], 0.8) - anchor
    for each in (links, resumed):
        each.on_advantages(second, signal.advantage)
        _, metrics = each.on_tokens(tokens, signal)
        assert number(metrics["siren/loss"]) == pytest.approx(0.1 * distance**2)
        assert each.state_dict()["siren"]["anchor"] == pytest.approx(anchor)


def test_an_evaluation_moves_nothing() -> None:
    tokens, rollouts = records()
    links, signal = chain([Siren(weight=0.1)]), make_signal(tokens)
    links.on_advantages(replace(rollouts, train=False), signal.advantage)
    assert links.state_dict() == {"siren": {"anchor": None}}
    after, _ = links.on_tokens(tokens, signal)
    assert not after.penalty.any()


def test_as_released_is_one_micro_batch_with_an_open_nucleus() -> None:
    tokens, rollouts = records()
    config = Siren(weight=0.1, anchor=0.25, as_released=True)
    assert config.scope == "micro_batch"
    assert config.needs == {"statistics"}
    penalty, metrics = run(config, tokens, rollouts)
    distance = mean(tokens.statistics[OPEN], 0.8, empty=True) - 0.25
    assert number(metrics["siren/loss"]) == pytest.approx(0.1 * distance**2)
    assert (penalty != 0).tolist() == config.selected(tokens.statistics[OPEN], MASK).tolist()


def test_its_anchor_is_the_first_generation_batch_too() -> None:
    tokens, rollouts = records()
    config = Siren(weight=0.1, as_released=True)
    assert config.needs == {"statistics", "old_statistics"}
    _, metrics = run(config, tokens, rollouts)
    anchor = mean(rollouts.old_statistics[OPEN], 0.8, empty=True)
    assert number(metrics["siren/anchor"]) == pytest.approx(anchor)


def test_equal_entropies_select_nothing() -> None:
    tokens, rollouts = records()
    flat = {NUCLEUS: torch.full_like(tokens.logp.detach(), 0.4)}
    penalty, metrics = run(
        Siren(anchor=0.1),
        replace(tokens, statistics=flat),
        replace(rollouts, old_statistics=flat),
    )
    assert not penalty.any()
    assert number(metrics["siren/selected"]) == 0.0


@pytest.mark.parametrize(
    "given",
    [
        {"weight": -1.0},
        {"weight": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"quantile": 1.0},
        {"quantile": -0.1},
        {"anchor": -0.1},
    ],
)
def test_what_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Siren(**given)
