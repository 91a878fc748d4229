"""Diversity or Precision against the policy gradient of its rewards, summed over the vocabulary."""

import math

import pytest
import torch
from torch import Tensor

from rlent.losses import Answers, DiversityOrPrecision, Head
from rlent_kernels import token_stats
from tests.losses.examples import answers, kept

TRANSFORM = {"temperature": 1.0, "logit_scale": 1.0, "softcap": None}
SETTINGS = [
    DiversityOrPrecision(),
    DiversityOrPrecision(beta=-0.25),
    DiversityOrPrecision(beta=0.5),
    DiversityOrPrecision(tail=-0.1, k=3),
    DiversityOrPrecision(head=0.1, k=3),
    DiversityOrPrecision(beta=0.5, head=0.2, tail=-0.3, k=2),
]


def given(loss: DiversityOrPrecision, logits: Tensor, targets: Tensor) -> Answers:
    identity = torch.eye(logits.shape[-1]).double()
    head = Head(hidden=logits, weight=identity, bias=None, targets=targets, transform=TRANSFORM)
    return Answers(
        logp=token_stats(logits, identity, targets).log_probs,
        ref_logp=None,
        mask=head.rows,
        measured=loss.measure(head, {}) if loss.in_head else {},
    )


@pytest.mark.parametrize("loss", SETTINGS)
def test_the_gradient_is_the_policy_gradient_of_the_rewards(loss: DiversityOrPrecision) -> None:
    """``-sum_a pi_a r(a) d log pi_a / dz`` with the rewards of Eq. 11 to 13, 1/pi included."""
    logits = torch.randn(1, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    targets = torch.tensor([[0, 5, -100, 2]])
    result = loss.per_token(given(loss, logits, targets))
    (gradient,) = torch.autograd.grad(result.losses.sum(), logits)
    for row, target, ours in zip(logits[0].tolist(), targets[0].tolist(), gradient[0], strict=True):
        total = sum(map(math.exp, row))
        p = [math.exp(z) / total for z in row]
        ranked = sorted(range(7), key=lambda a: -p[a])[: loss.k]
        expected = [0.0] * 7
        for a in range(7):
            reward = loss.head if a in ranked else loss.tail
            if a == target:
                reward = (1 - p[a]) ** loss.beta / p[a]
            for j in range(7):
                expected[j] -= p[a] * reward * ((a == j) - p[j]) * (target >= 0)
        assert ours.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_default_is_cross_entropy() -> None:
    each = answers(0)
    result = DiversityOrPrecision().per_token(each)
    for losses, logp in zip(
        kept(result.losses, each.mask), kept(each.logp, each.mask), strict=True
    ):
        assert losses == [-value for value in logp]
    result.losses[each.mask].sum().backward()
    assert each.logp.grad[each.mask].tolist() == [-1.0] * 6
    assert not each.logp.grad[~each.mask].any()


def test_a_certain_token_has_a_bounded_weight() -> None:
    logp = torch.zeros(1, 1, dtype=torch.float64)
    certain = Answers(logp=logp, ref_logp=None, mask=torch.ones(1, 1).bool(), measured={})
    loss = DiversityOrPrecision(beta=-0.5, smallest=1e-4)
    mean = loss.per_token(certain).metrics["diversity_or_precision/weight"]
    assert mean.total == pytest.approx(100.0)


def test_metrics() -> None:
    each = answers(0, measured=("head_mass",))
    metrics = DiversityOrPrecision(beta=1.0, head=0.1).per_token(each).metrics
    logp = [value for row in kept(each.logp, each.mask) for value in row]
    mass = [value for row in kept(each.measured["head_mass"], each.mask) for value in row]
    assert metrics["logps"].total == pytest.approx(sum(logp))
    assert metrics["logps"].count == 3
    weight = metrics["diversity_or_precision/weight"]
    assert weight.total == pytest.approx(sum(1 - math.exp(value) for value in logp))
    assert metrics["diversity_or_precision/head_mass"].total == pytest.approx(sum(mass))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0, "head": 0.1}, "k must be at least 1"),
        ({"k": 5}, "k has no effect without head or tail"),
        ({"smallest": 0.0, "beta": -1.0}, "smallest must be between 0 and 1"),
        ({"smallest": 0.1}, "smallest has no effect unless beta is negative"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiversityOrPrecision(**options)
