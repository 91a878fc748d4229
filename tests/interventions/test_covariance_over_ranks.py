"""clip_cov and kl_cov: means, ranks and numbers are those of all ranks together."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlent.interventions import ClipCov, KLCov, chain
from rlent.reduce import Reduce
from tests.interventions.examples import everything, make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import rows
from tests.ranks import on_ranks

PARTS = [slice(0, 2), slice(2, 9), slice(9, 12)]
TOKENS = make_tokens(rows=12, length=9, drift=0.6)
ROLLOUTS, SIGNAL = make_rollouts(TOKENS), make_signal(TOKENS)


def penalties(part: slice, reduce: Reduce) -> Tensor:
    links = chain([KLCov(share=0.2)])
    links.on_advantages(replace(rows(ROLLOUTS, part), reduce=reduce), SIGNAL.advantage[part])
    return links.on_tokens(rows(TOKENS, part), rows(SIGNAL, part))[0].penalty.detach()


def dropped(part: slice, reduce: Reduce, share: float) -> Tensor:
    links = chain([ClipCov(share=share, low=0.1, high=1.0)])
    rollouts = replace(rows(ROLLOUTS, part), reduce=reduce)
    links.on_advantages(rollouts, SIGNAL.advantage[part])
    selection, _ = links.on_select(rollouts, everything(rollouts.mask))
    return rollouts.mask & ~selection.select


def test_kl_cov_penalises_the_same_tokens_on_any_number_of_ranks() -> None:
    (whole,) = on_ranks([slice(None)], penalties)
    assert (whole > 0).sum() == math.floor(0.2 * int(TOKENS.mask.sum()))
    assert torch.equal(torch.cat(on_ranks(PARTS, penalties)), whole)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_clip_cov_drops_the_share_of_all_ranks(share: float) -> None:
    (whole,) = on_ranks([slice(None)], lambda part, reduce: dropped(part, reduce, share))
    parts = torch.cat(on_ranks(PARTS, lambda part, reduce: dropped(part, reduce, share)))
    assert 0 < parts.sum() == whole.sum()
    (eligible,) = on_ranks([slice(None)], lambda part, reduce: dropped(part, reduce, 1.0))
    assert not (parts & ~eligible).any()
    assert torch.equal(parts, eligible) == (share == 1.0)
