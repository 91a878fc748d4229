"""KL estimators against plain Python and against the divergence that they estimate."""

import math

import pytest
import torch

from rlent.divergences import k3


def random_logps(seed: int = 0, spread: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logp = -torch.rand(3, 5, generator=g, dtype=torch.float64) * 3
    return logp, logp + spread * torch.randn(3, 5, generator=g, dtype=torch.float64)


EVERYWHERE = torch.ones(3, 5, dtype=torch.bool)


def test_k3_is_its_formula() -> None:
    logp, ref_logp = random_logps()
    given = k3(logp, ref_logp, EVERYWHERE).flatten().tolist()
    pairs = zip(logp.flatten().tolist(), ref_logp.flatten().tolist(), strict=True)
    expected = [math.exp(ref - own) - (ref - own) - 1 for own, ref in pairs]
    assert given == pytest.approx(expected, rel=1e-12)


def test_k3_is_positive_and_zero_only_where_the_policies_agree() -> None:
    logp, ref_logp = random_logps(spread=2.0)
    assert (k3(logp, ref_logp, EVERYWHERE) > 0).all()
    assert not k3(logp, logp, EVERYWHERE).any()


def test_k3_is_unbiased() -> None:
    """Its expectation over the policy is KL(policy || reference), here summed over a whole vocabulary."""
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 40, generator=g, dtype=torch.float64)
    logp, ref_logp = logits.log_softmax(-1)
    everywhere = torch.ones(1, 40, dtype=torch.bool)
    expectation = (logp.exp() * k3(logp[None], ref_logp[None], everywhere)).sum().item()
    divergence = (logp.exp() * (logp - ref_logp)).sum().item()
    assert expectation == pytest.approx(divergence, rel=1e-12)


def test_the_gradient_of_k3_is_one_minus_the_ratio() -> None:
    logp, ref_logp = random_logps()
    logp.requires_grad_()
    (gradient,) = torch.autograd.grad(k3(logp, ref_logp, EVERYWHERE).sum(), logp)
    torch.testing.assert_close(gradient, 1 - (ref_logp - logp.detach()).exp())


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_masked_positions_never_leak(junk: float) -> None:
    logp, ref_logp = random_logps()
    mask = torch.arange(5).expand(3, 5) < torch.tensor([[5], [0], [3]])
    clean = logp.clone().requires_grad_()
    dirty = torch.where(mask, logp, junk).requires_grad_()
    expected = k3(clean, ref_logp, mask)
    given = k3(dirty, torch.where(mask, ref_logp, junk), mask)
    assert not given[~mask].any()
    torch.testing.assert_close(given, expected, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(given.sum(), dirty)
    (clean_gradient,) = torch.autograd.grad(expected.sum(), clean)
    torch.testing.assert_close(gradient, clean_gradient, rtol=0, atol=0)
