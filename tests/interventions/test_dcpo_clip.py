"""dcpo_clip: the bounds solve the paper's inequality, token by token."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import DCPOClip, chain
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number


def test_bounds_are_where_the_probability_has_moved_by_epsilon() -> None:
    tokens = make_tokens(rows=16, length=9)
    config = DCPOClip(epsilon_low=0.1, epsilon_high=0.3, cap=100.0)
    signal, metrics = chain([config]).on_tokens(tokens, make_signal(tokens))
    lows, highs = [], []
    for row, place in tokens.mask.nonzero().tolist():
        q = math.exp(tokens.old_logp[row, place].item())
        low, high = signal.clip_low[row, place].item(), signal.clip_high[row, place].item()
        assert (high - 1) * high * q == pytest.approx(0.3)
        if q >= 0.4:
            assert (1 - low) * low * q == pytest.approx(0.1)
        else:  # (1 - r) r q is largest at 0.5, and below 0.1 there
            assert low == 0.5
            assert 0.25 * q < 0.1
        lows.append(low)
        highs.append(high)
    assert min(lows) == 0.5
    assert max(lows) > 0.6
    assert number(metrics["dcpo_clip/low"]) == pytest.approx(sum(lows) / len(lows))
    assert number(metrics["dcpo_clip/high"]) == pytest.approx(sum(highs) / len(highs))


@pytest.mark.parametrize("old_logp", [-20.0, -800.0, -1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_very_unlikely_tokens_are_held_by_the_cap(old_logp: float, dtype: torch.dtype) -> None:
    tokens = make_tokens(dtype=dtype)
    tokens = replace(tokens, old_logp=torch.full_like(tokens.old_logp, old_logp))
    signal, _ = DCPOClip(cap=7.0).on_tokens(tokens, make_signal(tokens))
    assert (signal.clip_high[tokens.mask] == 7.0).all()
    assert (signal.clip_low[tokens.mask] == 0.5).all()


@pytest.mark.parametrize(
    ("dtype", "least"), [(torch.float32, -103.9), (torch.float64, -745.1)], ids=str
)
def test_as_released_a_token_of_probability_0_may_not_become_less_likely(
    dtype: torch.dtype, least: float
) -> None:
    tokens = make_tokens(dtype=dtype)
    old = tokens.old_logp.clone()
    columns = tokens.mask[0].nonzero().flatten()[:4].tolist()
    for column, logp in zip(columns, (-1.0, least, least - 0.2, -1e6), strict=True):
        old[0, column] = logp
    tokens = replace(tokens, old_logp=old)
    paper, _ = DCPOClip().on_tokens(tokens, make_signal(tokens))
    code, _ = DCPOClip(as_released=True).on_tokens(tokens, make_signal(tokens))
    assert [code.clip_low[0, column].item() for column in columns[1:]] == [0.5, 1.0, 1.0]
    assert [paper.clip_low[0, column].item() for column in columns[1:]] == [0.5, 0.5, 0.5]
    same = torch.ones_like(tokens.mask)
    same[0, columns[2:]] = False
    assert torch.equal(code.clip_low[same], paper.clip_low[same])
    assert torch.equal(code.clip_high, paper.clip_high)


def test_as_released_needs_a_lower_bound() -> None:
    with pytest.raises(ValueError, match="epsilon_low: null"):
        DCPOClip(epsilon_low=None, as_released=True)


@pytest.mark.parametrize(
    ("given", "moved"),
    [({"epsilon_low": None}, (False, True)), ({"epsilon_high": None}, (True, False))],
)
def test_a_bound_can_be_left_where_it_is(given: dict[str, Any], moved: tuple[bool, bool]) -> None:
    tokens = make_tokens()
    before = make_signal(tokens)
    after, _ = DCPOClip(**given).on_tokens(tokens, before)
    assert torch.equal(after.clip_low, before.clip_low) != moved[0]
    assert torch.equal(after.clip_high, before.clip_high) != moved[1]


def test_no_distance_is_no_movement() -> None:
    tokens = make_tokens()
    tokens = replace(tokens, old_logp=tokens.old_logp - 1000)
    after, _ = DCPOClip(epsilon_low=0.0, epsilon_high=0.0).on_tokens(tokens, make_signal(tokens))
    assert (after.clip_low[tokens.mask] == 1).all()
    assert (after.clip_high[tokens.mask] == 1).all()


@pytest.mark.parametrize(
    "given", [{"epsilon_low": -0.1}, {"epsilon_high": 1.1}, {"cap": 0.5}, {"cap": math.nan}]
)
def test_dcpo_clip_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        DCPOClip(**given)


def test_needs() -> None:
    assert DCPOClip().needs == {"several_updates"}
