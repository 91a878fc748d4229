"""Micro-batches that the laws are tried on: ragged, empty, tied, far from the generating policy."""

from dataclasses import replace

import torch
from hypothesis import settings
from hypothesis import strategies as st

from rlent.types import Tokens
from tests.interventions.examples import make_tokens

LAW = settings(max_examples=3, deadline=None, derandomize=True, database=None)
"""Few examples for each of many configurations, and the same ones in every run."""


@st.composite
def batches(draw: st.DrawFn, rows: int | None = None) -> Tokens:
    """Tokens of 1 to 8 completions of 0 to 9 tokens; ``rows`` fixes the number of completions."""
    rows = draw(st.sampled_from([1, 2, 4, 8])) if rows is None else rows
    length = draw(st.integers(1, 9))
    lengths = draw(st.lists(st.integers(0, length), min_size=rows, max_size=rows))
    mask = torch.arange(length).expand(rows, length) < torch.tensor(lengths).unsqueeze(1)
    drift = draw(st.sampled_from([0.0, 0.3, 3.0, 300.0]))
    tokens = make_tokens(rows, length, seed=draw(st.integers(0, 999)), drift=drift, mask=mask)
    match draw(st.sampled_from(["free", "tied", "zero"])):
        case "tied":
            return with_entropies(tokens, lambda entropy: (2 * entropy).round() / 2)
        case "zero":
            return with_entropies(tokens, torch.zeros_like)
        case _:
            return tokens


def with_entropies(tokens: Tokens, change: object) -> Tokens:
    """The same tokens with their entropies changed; the current ones are a leaf with gradient."""
    assert callable(change)
    return replace(
        tokens,
        entropy=change(tokens.entropy.detach()).requires_grad_(),
        old_entropy=change(tokens.old_entropy),
    )
