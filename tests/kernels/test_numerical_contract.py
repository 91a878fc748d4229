"""How close the numbers are, and that they lean to no side."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlent_kernels import token_stats
from tests.kernels.conftest import IMPLEMENTATIONS, _make

NUMBERED = dict(enumerate(IMPLEMENTATIONS))


def naive(hidden, weight, targets):
    """Full logits in the dtype of the operands, softmax in float32."""
    log_p = torch.log_softmax((hidden @ weight.T).float(), dim=-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def large(rows, dtype, spread=3.0):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(rows, 32, generator=generator).to(dtype)
    weight = (spread * torch.randn(512, 32, generator=generator) / 32**0.5).to(dtype)
    return hidden, weight, torch.randint(512, (rows,), generator=generator)


def truth(hidden, weight, targets):
    log_p = torch.log_softmax(hidden.double() @ weight.double().T, dim=-1)
    return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


@pytest.mark.parametrize("calls", [{"impl": "torch"}, {"impl": "torch", "tile": (4096, 100)}])
def test_the_entropy_of_100000_tokens_leans_to_no_side(calls):
    problem = large(100_000, torch.float32, spread=2.0)
    stats, (log_probs, entropy) = token_stats(*problem, **calls), truth(*problem)
    assert abs((stats.entropy - entropy).mean().item()) < 1e-6
    assert abs((stats.log_probs - log_probs).mean().item()) < 1e-6
    relative = ((stats.entropy - entropy).abs() / entropy.clamp(min=1)).max()
    assert relative < 2e-6
    assert ((stats.log_probs - log_probs).abs() / log_probs.abs().clamp(min=1)).max() < 2e-6


@pytest.mark.parametrize("spread", [0.5, 3.0, 8.0])
def test_the_error_is_that_of_float32_logits(spread):
    """The larger the logits, the more their own rounding moves the entropy; nothing is added to it."""
    hidden, weight, targets = large(20_000, torch.float32, spread)
    log_p = torch.log_softmax((hidden @ weight.T).double(), dim=-1)
    rounded = -(log_p.exp() * log_p).sum(-1)
    _, entropy = truth(hidden, weight, targets)
    stats = token_stats(hidden, weight, targets)
    assert (stats.entropy - rounded).abs().max() < 1.5e-6
    assert (stats.entropy - entropy).abs().max() < (rounded - entropy).abs().max() + 1.5e-6


@pytest.mark.parametrize("calls", [{"impl": "torch"}, {"impl": "torch", "tile": (4096, 100)}])
def test_bfloat16_is_no_worse_than_a_naive_head(calls):
    problem = large(100_000, torch.bfloat16)
    stats, expected = token_stats(*problem, **calls), truth(*problem)
    for given_, naive_, true in zip(
        (stats.log_probs, stats.entropy), naive(*problem), expected, strict=True
    ):
        assert (given_ - true).abs().max() < (naive_ - true).abs().max()
        assert abs((given_ - true).mean()) < abs((naive_ - true).mean())


def test_triton_leans_no_more_than_torch(make):
    problem = make(512, 16, 300, dtype=torch.float32, spread=3.0)
    expected = problem.truth()
    for impl in ("torch", "triton"):
        stats = problem.run(impl=impl, tile=(128, 300))
        assert abs((stats.entropy - expected.entropy).mean().item()) < 1e-6
        assert ((stats.entropy - expected.entropy).abs() / expected.entropy).max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_lean_no_more_than_those_of_a_naive_head(dtype):
    hidden, weight, targets = large(2000, dtype)
    cotangent = torch.randn(2000, generator=torch.Generator().manual_seed(2))

    def gradients(function, kind):
        leaves = [x.detach().to(kind).requires_grad_() for x in (hidden, weight)]
        log_probs, entropy = function(*leaves, targets)
        loss = (cotangent * (log_probs + 0.3 * entropy)).sum()
        return [x.double() for x in torch.autograd.grad(loss, leaves)]

    def ours(*problem):
        stats = token_stats(*problem, tile=(512, 100), keep_logits=False)
        return stats.log_probs, stats.entropy

    exact = gradients(truth, torch.float64)
    for mine, theirs, true in zip(
        gradients(ours, dtype), gradients(naive, dtype), exact, strict=True
    ):
        assert (mine - true).norm() < 1.5 * (theirs - true).norm()
        assert (mine - true).abs().max() < 2 * (theirs - true).abs().max()
        noise = 4 * (mine - true).std() / math.sqrt(mine.numel())
        assert abs((mine - true).mean()) < max(2 * abs((theirs - true).mean()), noise)


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_logits_of_ten_thousand(calls):
    """One-hot rows, rows of equals, and rows of two: exact values far from 0."""
    weight = torch.tensor([[1e4, 1e4, 1e4], [-1e4, 1e4, 1e4], [-1e4, 1e4, -1e4]])
    stats = token_stats(torch.eye(3), weight, torch.tensor([0, 1, 2]), **calls)
    expected_entropy = [0.0, math.log(3), math.log(2)]
    expected_log_probs = [0.0, -math.log(3), -2e4 - math.log(2)]
    assert stats.entropy.tolist() == pytest.approx(expected_entropy, abs=1e-6)
    assert stats.log_probs.tolist() == pytest.approx(expected_log_probs, rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(1, 14)),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    choice=st.sampled_from(sorted(NUMBERED)),
    strided=st.tuples(st.booleans(), st.booleans()),
    bias=st.booleans(),
    options=st.sampled_from([{}, {"temperature": 0.7}, {"softcap": 2.0, "logit_scale": 1.3}]),
)
def test_any_shape_dtype_and_stride(sizes, dtype, choice, strided, bias, options):
    problem = _make(*sizes, dtype=dtype, bias=bias, ignored=(0,) if sizes[0] > 2 else (), **options)
    hidden, weight = problem.hidden, problem.weight
    if strided[0]:
        hidden = torch.stack([hidden, hidden], dim=-1)[..., 0]
    if strided[1]:
        weight = weight.T.contiguous().T
    problem = problem.with_(hidden=hidden, weight=weight)
    expected = problem.trained()
    given_ = problem.with_(
        hidden=hidden.detach().requires_grad_(),
        weight=weight.detach().requires_grad_(),
        bias=expected.bias,
    )
    stats, exact = given_.run(**NUMBERED[choice]), expected.truth()
    loose = 1e-9 if dtype == torch.float64 else 2e-5
    close = {"rtol": loose, "atol": loose, "check_dtype": False}
    torch.testing.assert_close(stats.log_probs, exact.log_probs, **close)
    torch.testing.assert_close(stats.entropy, exact.entropy, **close)
    rounding = {
        torch.float64: 1e-9,
        torch.float32: 1e-4,
        torch.bfloat16: 2**-6,
        torch.float16: 2**-9,
    }
    for ours, theirs in zip(given_.gradients(stats), expected.gradients(exact), strict=True):
        scale = max(theirs.abs().max().item(), 1e-3) if theirs.numel() else 1.0
        torch.testing.assert_close(
            ours, theirs, rtol=rounding[dtype], atol=rounding[dtype] * scale, check_dtype=False
        )
