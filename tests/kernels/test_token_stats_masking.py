"""Ignored rows, banned tokens, and the work that is not done."""

import pytest
import torch

from rlent_kernels import IGNORE_INDEX
from tests.kernels.conftest import IMPLEMENTATIONS


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_ignored_rows_leak_nothing(make, calls, poison):
    clean = make(ignored=(1, 6)).trained()
    hidden = clean.hidden.detach().clone()
    hidden[[1, 6]] = poison
    cotangents = {
        name: getattr(clean, name).index_fill(0, torch.tensor([1, 6]), poison)
        for name in ("grad_log_probs", "grad_entropy")
    }
    poisoned = clean.with_(hidden=hidden, **cotangents).trained()
    expected, given = clean.run(**calls), poisoned.run(**calls)
    assert torch.equal(given.log_probs, expected.log_probs)
    assert torch.equal(given.entropy, expected.entropy)
    gradients = poisoned.gradients(given)
    for ours, theirs in zip(gradients, clean.gradients(expected), strict=True):
        assert torch.equal(ours, theirs)
    assert not gradients[0][[1, 6]].any()


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_ignored_rows_are_zero(make, calls):
    stats = make(ignored=(1, 6)).run(**calls)
    assert stats.log_probs[[1, 6]].tolist() == stats.entropy[[1, 6]].tolist() == [0.0, 0.0]
    assert stats.log_probs[[0, 2, 3, 4, 5]].all()


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("n", [0, 3])
def test_nothing_to_compute_stays_in_the_graph(make, n, calls):
    problem = make(n).with_(targets=torch.full((n,), IGNORE_INDEX)).trained()
    stats = problem.run(**calls)
    assert stats.log_probs.tolist() == stats.entropy.tolist() == [0.0] * n
    for gradient, leaf in zip(
        problem.gradients(stats), (problem.hidden, problem.weight, problem.bias), strict=True
    ):
        assert torch.equal(gradient, torch.zeros_like(leaf))


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "logit_scale": 3.0}])
@pytest.mark.parametrize("banned", [[0, 1, 2, 3], [4, 5, 6, 7, 8], [10], [0, 3, 9]])
def test_banned_tokens_are_as_if_absent(make, calls, dtype, options, banned):
    problem = make(dtype=dtype, **options)
    left = torch.tensor([j for j in range(11) if j not in banned])
    targets = torch.arange(7) % len(left)
    bias = problem.bias.index_fill(0, torch.tensor(banned), -torch.inf)
    masked = problem.with_(bias=bias, targets=left[targets]).trained()
    smaller = problem.with_(
        weight=problem.weight[left], bias=problem.bias[left], targets=targets
    ).trained()
    given, expected = masked.run(**calls), smaller.run(impl="reference")
    torch.testing.assert_close(given.entropy, expected.entropy)
    torch.testing.assert_close(given.log_probs, expected.log_probs)
    hidden, weight, bias = masked.gradients(given)
    for ours, theirs in zip(
        (hidden, weight[left], bias[left]), smaller.gradients(expected), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not weight[banned].any()
    assert not bias[banned].any()


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_a_banned_target_has_probability_zero_and_finite_gradients(make, calls):
    problem = make().with_(targets=torch.full((7,), 3))
    problem = problem.with_(bias=problem.bias.index_fill(0, torch.tensor([3]), -torch.inf))
    problem = problem.trained()
    stats = problem.run(**calls)
    assert stats.log_probs.eq(-torch.inf).all()
    assert stats.entropy.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in problem.gradients(stats))


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_a_certain_token_has_no_entropy(make, calls):
    problem = make(dtype=torch.float32)
    bias = torch.full((11,), -torch.inf)
    bias[5] = 0.0
    problem = problem.with_(bias=bias, targets=torch.full((7,), 5)).trained()
    stats = problem.run(**calls)
    assert stats.entropy.tolist() == stats.log_probs.tolist() == [0.0] * 7
    assert all(not gradient.any() for gradient in problem.gradients(stats))


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_a_softcap_bounds_a_bias_of_minus_infinity(make, calls):
    """The formula caps after the bias, so such a token keeps the logit -softcap."""
    problem = make(softcap=2.0)
    problem = problem.with_(bias=problem.bias.index_fill(0, torch.tensor([3]), -torch.inf))
    problem = problem.trained()
    given, expected = problem.run(**calls), problem.truth()
    torch.testing.assert_close(given.entropy, expected.entropy)
    gradients = problem.gradients(given)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[2][3] == 0.0


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_huge_logits_stay_finite(make, calls):
    problem = make(dtype=torch.float32, spread=1e6).trained()
    stats = problem.run(**calls)
    assert stats.log_probs.isfinite().all()
    assert stats.entropy.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in problem.gradients(stats))
