"""clip_higher and clip_preserve: the bounds, and the gradient of every token by the papers' case tables."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import ClipHigher, ClipPreserve, chain
from rlent.surrogates import PPO
from tests.interventions.examples import make_signal, make_tokens
from tests.surrogate_examples import at_log_ratios

RATIOS = [0.1, 0.5, 0.79, 0.81, 1.0, 1.27, 1.29, 5.0, 9.9, 10.1]
FACTORS = {
    # advantage, settings: gradient factors with epsilon 0.2 / 0.28 and dual clip 10
    (1.0, (0.0, 0.0)): [0.1, 0.5, 0.79, 0.81, 1, 1.27, 0, 0, 0, 0],
    (1.0, (1.0, 1.0)): [0.1, 0.5, 0.79, 0.81, 1, 1.27, 1.28, 1.28, 1.28, 1.28],
    (1.0, (0.5, 1.0)): [0.1, 0.5, 0.79, 0.81, 1, 1.27, 1.28, 1.28, 1.28, 1.28],
    (-1.0, (0.0, 0.0)): [0, 0, 0, 0.81, 1, 1.27, 1.29, 5, 9.9, 0],
    (-1.0, (1.0, 1.0)): [0.8, 0.8, 0.8, 0.81, 1, 1.27, 1.29, 5, 9.9, 0],
    (-1.0, (0.5, 1.0)): [0.4, 0.4, 0.4, 0.81, 1, 1.27, 1.29, 5, 9.9, 0],
}


@pytest.mark.parametrize(("case", "expected"), FACTORS.items(), ids=str)
def test_gradient_factors_are_the_papers(
    case: tuple[float, tuple[float, float]], expected: list[float]
) -> None:
    advantage, (low, high) = case
    logs = torch.tensor(RATIOS, dtype=torch.float64).log().tolist()
    tokens, signal = at_log_ratios(logs, advantage, torch.float64)
    preserve = ClipPreserve(keep_low=low, keep_high=high)
    signal, _ = chain([ClipHigher(), preserve]).on_tokens(tokens, signal)
    PPO(dual_clip=10.0)(tokens, signal).sum().backward()
    assert tokens.logp.grad is not None
    factors = (-tokens.logp.grad / advantage).flatten().tolist()
    assert factors == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("log_ratio", [-1e4, -104.0, 89.0, 1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_no_ratio_gives_nan(advantage: float, log_ratio: float) -> None:
    tokens, signal = at_log_ratios([log_ratio, 0.0], advantage, torch.float32)
    signal, _ = ClipPreserve().on_tokens(tokens, signal)
    loss = PPO()(tokens, signal).sum()
    loss.backward()
    assert loss.isfinite()
    assert tokens.logp.grad is not None
    assert tokens.logp.grad.isfinite().all()


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, (0.0, 1.0)), (584, (0.0, 1.0)), (585, (0.5, 1.0)), (999, (0.5, 1.0)), (1000, (0.7, 0.8))],
)
def test_shares_follow_the_schedule(step: int, expected: tuple[float, float]) -> None:
    config = ClipPreserve(schedule=((0, 0.0, 1.0), (585, 0.5, 1.0), (1000, 0.7, 0.8)))
    tokens = replace(make_tokens(), step=step)
    signal, metrics = config.on_tokens(tokens, make_signal(tokens))
    low, high = expected
    assert (signal.keep_low == low).all()
    assert (signal.keep_high == high).all()
    assert metrics == {"keep_low": low, "keep_high": high}


def test_before_the_schedule_the_plain_settings_hold() -> None:
    config = ClipPreserve(keep_low=0.3, keep_high=0.6, schedule=((5, 0.1, 0.2),))
    assert config.shares(4) == (0.3, 0.6)
    assert config.shares(5) == (0.1, 0.2)


@pytest.mark.parametrize(
    "given",
    [
        {"keep_low": -0.1},
        {"keep_high": -1.0},
        {"schedule": ((1, -0.5, 1.0),)},
        {"schedule": ((5, 0.0, 1.0), (3, 0.5, 1.0))},
        {"schedule": ((3, 0.0, 1.0), (3, 0.5, 1.0))},
        {"schedule": ((-1, 0.0, 1.0),)},
    ],
)
def test_clip_preserve_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        ClipPreserve(**given)


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ({}, 0.8, 1.28),
        ({"epsilon_low": None}, 0.9, 1.28),
        ({"epsilon_high": None}, 0.8, 1.1),
        ({"epsilon_low": 0.0, "epsilon_high": 0.5}, 1.0, 1.5),
    ],
)
def test_clip_higher_sets_the_bounds(given: dict[str, Any], low: float, high: float) -> None:
    tokens = make_tokens()
    signal, metrics = ClipHigher(**given).on_tokens(tokens, make_signal(tokens, low=0.9, high=1.1))
    assert (signal.clip_low == low).all()
    assert (signal.clip_high == high).all()
    for name, bound in (("low", low), ("high", high)):
        assert float(metrics[name].total) / float(metrics[name].count) == pytest.approx(bound)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "given", [{"epsilon_low": 1.5}, {"epsilon_low": -0.1}, {"epsilon_high": -0.1}]
)
def test_clip_higher_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        ClipHigher(**given)


def test_both_need_several_updates() -> None:
    assert ClipHigher().needs == ClipPreserve().needs == {"several_updates"}
