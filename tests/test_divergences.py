"""KL estimators against plain Python and against the divergence that they estimate."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlent.divergences import k1, k2, k3

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]


def random_logps(seed: int = 0, spread: float = 0.7) -> tuple[Tensor, Tensor]:
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


def test_k1_and_k2_are_their_formulas() -> None:
    logp, ref_logp = random_logps()
    pairs = list(zip(logp.flatten().tolist(), ref_logp.flatten().tolist(), strict=True))
    given = k1(logp, ref_logp, EVERYWHERE).flatten().tolist()
    assert given == pytest.approx([own - ref for own, ref in pairs], rel=1e-12)
    given = k2(logp, ref_logp, EVERYWHERE).flatten().tolist()
    assert given == pytest.approx([(own - ref) ** 2 / 2 for own, ref in pairs], rel=1e-12)


def test_k3_is_positive_and_zero_only_where_the_policies_agree() -> None:
    logp, ref_logp = random_logps(spread=2.0)
    assert (k3(logp, ref_logp, EVERYWHERE) > 0).all()
    assert not k3(logp, logp, EVERYWHERE).any()


def random_distributions(seed: int = 1, size: int = 7) -> tuple[Tensor, list[float]]:
    """Logits of a policy, which carry gradient, and the log-probabilities of a reference."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, generator=g, dtype=torch.float64).requires_grad_()
    reference = torch.randn(size, generator=g, dtype=torch.float64).log_softmax(-1)
    return logits, reference.tolist()


def probabilities(logits: Tensor) -> list[float]:
    weights = [math.exp(logit) for logit in logits.tolist()]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_are_unbiased(estimator: Estimator) -> None:
    """The expectation over the policy is KL(policy || reference), here summed over a whole vocabulary."""
    logits, reference = random_distributions()
    policy = probabilities(logits)
    logp, ref_logp = (
        logits.detach().log_softmax(-1)[None],
        torch.tensor([reference], dtype=torch.float64),
    )
    values = estimator(logp, ref_logp, torch.ones(1, len(policy), dtype=torch.bool))[0].tolist()
    expectation = sum(p * value for p, value in zip(policy, values, strict=True))
    divergence = sum(p * (math.log(p) - ref) for p, ref in zip(policy, reference, strict=True))
    assert expectation == pytest.approx(divergence, rel=1e-12)


def expected_gradient(estimator: Estimator, logits: Tensor, reference: list[float]) -> list[float]:
    """``sum_v policy(v) d estimate(v) / d logits``: every token that could be sampled, by its probability."""
    total = [0.0] * len(reference)
    for token, p in enumerate(probabilities(logits)):
        logp = logits.log_softmax(-1)[token].reshape(1, 1)
        ref_logp = torch.full((1, 1), reference[token], dtype=torch.float64)
        estimate = estimator(logp, ref_logp, torch.ones(1, 1, dtype=torch.bool))
        (gradient,) = torch.autograd.grad(estimate.sum(), logits)
        total = [sum_ + p * part for sum_, part in zip(total, gradient.tolist(), strict=True)]
    return total


def test_the_expected_gradient_of_k1_is_zero() -> None:
    logits, reference = random_distributions()
    assert expected_gradient(k1, logits, reference) == pytest.approx([0.0] * 7, abs=1e-12)


def test_the_expected_gradient_of_k2_is_that_of_the_divergence_from_the_reference() -> None:
    logits, reference = random_distributions()
    policy = probabilities(logits)
    kl = sum(p * (math.log(p) - ref) for p, ref in zip(policy, reference, strict=True))
    # d KL(policy || reference) / d logit_j = p_j (log p_j - log ref_j - KL)
    gradient = [p * (math.log(p) - ref - kl) for p, ref in zip(policy, reference, strict=True)]
    assert expected_gradient(k2, logits, reference) == pytest.approx(gradient, abs=1e-12)


def test_the_expected_gradient_of_k3_is_that_of_the_other_direction() -> None:
    logits, reference = random_distributions()
    # d KL(reference || policy) / d logit_j = p_j - ref_j
    gradient = [p - math.exp(ref) for p, ref in zip(probabilities(logits), reference, strict=True)]
    assert expected_gradient(k3, logits, reference) == pytest.approx(gradient, abs=1e-12)


def test_the_gradient_of_k3_is_one_minus_the_ratio() -> None:
    logp, ref_logp = random_logps()
    logp.requires_grad_()
    (gradient,) = torch.autograd.grad(k3(logp, ref_logp, EVERYWHERE).sum(), logp)
    torch.testing.assert_close(gradient, 1 - (ref_logp - logp.detach()).exp())


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_masked_positions_never_leak(estimator: Estimator, junk: float) -> None:
    logp, ref_logp = random_logps()
    mask = torch.arange(5).expand(3, 5) < torch.tensor([[5], [0], [3]])
    clean = logp.clone().requires_grad_()
    dirty = torch.where(mask, logp, junk).requires_grad_()
    expected = estimator(clean, ref_logp, mask)
    given = estimator(dirty, torch.where(mask, ref_logp, junk), mask)
    assert not given[~mask].any()
    torch.testing.assert_close(given, expected, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(given.sum(), dirty)
    (clean_gradient,) = torch.autograd.grad(expected.sum(), clean)
    torch.testing.assert_close(gradient, clean_gradient, rtol=0, atol=0)
