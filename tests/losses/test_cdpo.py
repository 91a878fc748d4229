"""cDPO against the paper's and the released formula, and against DPO."""

import math
from dataclasses import replace

import pytest
import torch

from rlent.losses import CDPO
from rlent_kernels import FixedHead
from tests.losses.examples import answers, kept, margins, nll

MODELS = {"positive": "a", "negative": "b"}


def weighted(given) -> list[list[float]]:
    rows = zip(
        *(kept(each, given.mask) for each in (given.logp, given.ref_logp, given.score)), strict=True
    )
    return [[(1 - s) * (a - b) for a, b, s in zip(*row, strict=True)] for row in rows]


def test_the_papers_form_has_one_sigmoid_for_each_pair() -> None:
    chosen, rejected = answers(0), answers(1, score=True)
    pairs = CDPO(**MODELS, gamma=0.7).per_pair(chosen, rejected)
    expected = [
        nll(0.7 * (margin - sum(row)))
        for margin, row in zip(margins(chosen), weighted(rejected), strict=True)
    ]
    assert pairs.losses.tolist() == pytest.approx(expected)
    assert pairs.chosen_reward.tolist() == pytest.approx([0.7 * m for m in margins(chosen)])
    assert pairs.rejected_reward.tolist() == pytest.approx([0.7 * m for m in margins(rejected)])
    mean = pairs.metrics["cdpo/score"]
    assert mean.total == pytest.approx(sum(map(sum, kept(rejected.score, rejected.mask))))
    assert mean.count == 6


def test_the_released_form_has_one_sigmoid_for_each_position() -> None:
    chosen, rejected = answers(0), answers(1, score=True)
    pairs = CDPO(**MODELS, as_released=True).per_pair(chosen, rejected)
    ours, theirs = kept(chosen.logp - chosen.ref_logp, chosen.mask), weighted(rejected)
    expected = []
    for row in range(3):
        # Both sides have one mask here; what it leaves out counts log 2 each.
        pair = [nll(0.1 * (a - b)) for a, b in zip(ours[row], theirs[row], strict=True)]
        expected.append((sum(pair) + (5 - len(pair)) * math.log(2)) / 5)
    assert pairs.losses.tolist() == pytest.approx(expected)


def test_without_scores_the_papers_form_is_dpo() -> None:
    chosen, rejected = answers(0), answers(1)
    rejected = replace(rejected, score=torch.zeros_like(rejected.logp.detach()))
    pairs = CDPO(**MODELS).per_pair(chosen, rejected)
    expected = [
        nll(good - bad) for good, bad in zip(margins(chosen), margins(rejected), strict=True)
    ]
    assert pairs.losses.tolist() == pytest.approx(expected)


def test_gradients_are_finite_and_the_score_scales_them() -> None:
    chosen, rejected = answers(0), answers(1, score=True)
    CDPO(**MODELS).per_pair(chosen, rejected).losses.sum().backward()
    slope = rejected.logp.grad[0, :3] / (1 - rejected.score[0, :3])
    torch.testing.assert_close(slope, slope[0].expand(3))
    assert chosen.logp.grad.isfinite().all()
    assert not rejected.logp.grad[~rejected.mask].any()


def test_the_score_is_the_contrasts_probability() -> None:
    """P+ = (1/2, 1/2), P- = (3/4, 1/4), b = 1: s ~ (1/3, 1), normalised (1/4, 3/4)."""
    identity = torch.eye(2).double()
    fixed = {
        "positive": FixedHead(hidden=torch.zeros(1, 3, 2).double(), weight=identity),
        "negative": FixedHead(
            hidden=torch.tensor([3.0, 1.0]).log().double().expand(1, 3, 2), weight=identity
        ),
    }
    transform = {"temperature": 1.0, "logit_scale": 1.0, "softcap": None}
    score = CDPO(**MODELS).score(fixed, torch.tensor([[0, 1, -100]]), transform)
    assert score.tolist() == [[pytest.approx(0.25), pytest.approx(0.75), 0.0]]


def test_as_released_sets_three_options() -> None:
    released = CDPO(**MODELS, as_released=True)
    assert (released.level, released.gamma, released.leaves_end_out) == ("position", 0.1, True)
    assert not CDPO(**MODELS).leaves_end_out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"contrast": -1.0}, "contrast must not be negative"),
        ({"as_released": True, "gamma": 0.5}, "as_released means gamma: 0.1, but gamma: 0.5"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CDPO(**MODELS, **options)
