"""TDPO against its two formulas, and against DPO."""

import pytest
import torch

from rlent.losses import REFERENCE, TDPO, Head
from rlent_kernels import FixedHead
from tests.losses.examples import answers, margins, nll, sums


@pytest.mark.parametrize("loss", [TDPO(variant=1), TDPO(), TDPO(alpha=0.3, beta=0.7)])
def test_losses_rewards_and_metrics(loss: TDPO) -> None:
    chosen, rejected = (answers(seed, measured=("ref_kl",)) for seed in (0, 1))
    pairs = loss.per_pair(chosen, rejected)
    kl = [sums(each.measured["ref_kl"], each) for each in (chosen, rejected)]
    margin = [margins(each) for each in (chosen, rejected)]
    weight = 1.0 if loss.variant == 1 else loss.alpha
    expected = [
        nll(loss.beta * (good - bad - weight * (kl_bad - kl_good)))
        for good, bad, kl_good, kl_bad in zip(*margin, *kl, strict=True)
    ]
    assert pairs.losses.tolist() == pytest.approx(expected)
    for reward, own, divergence in zip(
        (pairs.chosen_reward, pairs.rejected_reward), margin, kl, strict=True
    ):
        wanted = [loss.beta * (a + b) for a, b in zip(own, divergence, strict=True)]
        assert reward.tolist() == pytest.approx(wanted)
        assert not reward.requires_grad
    for side, divergence in zip(("chosen", "rejected"), kl, strict=True):
        mean = pairs.metrics[f"tdpo/kl_{side}"]
        assert mean.total == pytest.approx(sum(divergence))
        assert mean.count == 6


@pytest.mark.parametrize(("loss", "through_chosen"), [(TDPO(variant=1), True), (TDPO(), False)])
def test_which_divergences_carry_gradient(loss: TDPO, through_chosen: bool) -> None:
    chosen, rejected = (answers(seed, measured=("ref_kl",)) for seed in (0, 1))
    loss.per_pair(chosen, rejected).losses.sum().backward()
    given = chosen.measured["ref_kl"].grad
    assert (given is not None and bool(given.any())) == through_chosen
    grad = rejected.measured["ref_kl"].grad
    assert grad is not None
    assert (grad[rejected.mask] > 0).all()
    assert not grad[~rejected.mask].any()
    assert chosen.logp.grad is not None
    assert chosen.logp.grad.isfinite().all()


def test_tdpo2_without_alpha_is_dpo() -> None:
    chosen, rejected = answers(0), answers(1)
    loss = TDPO(variant=2, alpha=0.0, beta=0.3)
    assert not loss.in_head
    assert loss.measures_against == frozenset()
    pairs = loss.per_pair(chosen, rejected)
    expected = [
        nll(0.3 * (good - bad))
        for good, bad in zip(margins(chosen), margins(rejected), strict=True)
    ]
    assert pairs.losses.tolist() == pytest.approx(expected)
    assert pairs.metrics == {}


def test_the_divergence_is_from_the_reference_to_the_policy() -> None:
    """KL(pi_ref || pi) with pi_ref = (3/4, 1/4) and pi = (1/2, 1/2)."""
    hidden = torch.zeros(1, 2, 2).double()
    reference = torch.tensor([3.0, 1.0]).log().double().expand(1, 2, 2)
    identity = torch.eye(2).double()
    head = Head(
        hidden=hidden,
        weight=identity,
        bias=None,
        targets=torch.tensor([[0, -100]]),
        transform={"temperature": 1.0, "logit_scale": 1.0, "softcap": None},
    )
    fixed = {REFERENCE: FixedHead(hidden=reference, weight=identity)}
    expected = 0.75 * torch.tensor(1.5).log().item() + 0.25 * torch.tensor(0.5).log().item()
    given = TDPO().measure(head, fixed)["ref_kl"].tolist()
    assert given == [[pytest.approx(expected), 0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta must be positive, got 0.0"),
        ({"alpha": -1.0}, "alpha must not be negative"),
        ({"variant": 1, "alpha": 0.1}, "alpha has no effect on variant 1"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TDPO(**options)
