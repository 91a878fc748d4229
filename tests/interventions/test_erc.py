"""erc: which tokens learn, by plain loops over entropy ratios."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.interventions import ERC, chain
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import number


@pytest.mark.parametrize(("low", "high"), [(0.95, 1.05), (0.5, 1.05), (0.95, 2.0), (0.0, 1.5)])
def test_tokens_inside_the_band_learn(low: float, high: float) -> None:
    tokens = make_tokens(rows=12, length=9)
    assert tokens.old_entropy is not None
    spread = torch.linspace(0.4, 2.4, 108, dtype=torch.float64).view(12, 9)
    tokens = replace(tokens, entropy=(tokens.old_entropy * spread).requires_grad_())
    signal, metrics = chain([ERC(low=low, high=high)]).on_tokens(tokens, make_signal(tokens))
    counts = {"inside": 0, "clipped_low": 0, "clipped_high": 0}
    for row, place in tokens.mask.nonzero().tolist():
        ratio = (tokens.entropy[row, place].item() + 1e-8) / (
            tokens.old_entropy[row, place].item() + 1e-8
        )
        name = "clipped_low" if ratio <= low else "clipped_high" if ratio >= high else "inside"
        counts[name] += 1
        assert signal.select[row, place].item() == (name == "inside")
    assert torch.equal(signal.count, tokens.mask)
    total = int(tokens.mask.sum())
    assert counts["inside"] > 1
    assert counts["clipped_high"] > 2
    for name in ("clipped_low", "clipped_high"):
        assert number(metrics[f"erc/{name}"]) == pytest.approx(counts[name] / total)


@pytest.mark.parametrize(
    ("now", "before", "learns"),
    [
        (1.0, 1.0, True),
        (0.0, 0.0, True),
        (0.0, 1e-9, True),
        (0.0, 1e-6, False),
        (1e-6, 0.0, False),
        (1.5, 1.0, False),
        (0.75, 1.0, True),
        (0.5, 1.0, False),
    ],
)
def test_the_band_is_open_and_two_zeros_are_equal(now: float, before: float, learns: bool) -> None:
    tokens = make_tokens(1, 1, mask=torch.ones(1, 1, dtype=torch.bool))
    tokens = replace(
        tokens,
        entropy=torch.full((1, 1), now, dtype=torch.float64),
        old_entropy=torch.full((1, 1), before, dtype=torch.float64),
    )
    floor = 1e-8
    low, high = (0.5 + floor) / (1 + floor), (1.5 + floor) / (1 + floor)  # exactly at 0.5 and 1.5
    signal, _ = ERC(low=low, high=high).on_tokens(tokens, make_signal(tokens))
    assert signal.select.item() == learns


def test_selection_narrows_what_is_still_selected() -> None:
    tokens = make_tokens()
    earlier = tokens.mask.clone()
    earlier[:2] = False
    signal = replace(make_signal(tokens), select=earlier)
    after, _ = ERC(low=0.01, high=100.0).on_tokens(tokens, signal)
    assert not after.select[:2].any()
    assert after.select[2:].any()


@pytest.mark.parametrize(
    "given",
    [{"low": -0.1}, {"low": 1.0}, {"low": math.nan}, {"high": 1.0}, {"high": math.nan}],
)
def test_erc_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        ERC(**given)


def test_needs() -> None:
    assert ERC().needs == {"entropy", "old_entropy", "several_updates"}
