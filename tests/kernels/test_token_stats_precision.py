"""Rounding: float32 statistics whatever the inputs, and entropy that does not drift."""

import threading

import pytest
import torch

from rlent_kernels import TokenStats
from rlent_kernels.precision import Precision, choose_precision

bf16 = torch.bfloat16


def errors(given, expected):
    return (given.double() - expected.double()).abs().max().item()


def naive(problem, dtype):
    """A head that holds its logits in ``dtype``."""
    z = problem.hidden.to(dtype) @ problem.weight.to(dtype).T
    log_p = torch.log_softmax(z.float(), dim=-1)
    target = log_p.gather(1, problem.targets[:, None])[:, 0]
    return target, -(log_p.exp() * log_p).sum(-1)


@pytest.mark.parametrize("spread", [0.5, 4.0, 20.0])
def test_float32_is_as_exact_as_a_plain_float32_head(make, spread):
    problem = make(64, 64, 4096, dtype=torch.float32, bias=False, spread=spread)
    truth, given = problem.truth(), problem.run(tile=(16, 300))
    log_probs, entropy = naive(problem, torch.float32)
    assert errors(given.log_probs, truth.log_probs) < 2 * errors(log_probs, truth.log_probs) + 1e-6
    assert errors(given.entropy, truth.entropy) < 2 * errors(entropy, truth.entropy) + 1e-6


def test_bfloat16_inputs_do_not_make_statistics_drift(make):
    problem = make(256, 64, 4096, dtype=bf16, bias=False, spread=4.0)
    truth, given = problem.truth(), problem.run(tile=(64, 512))
    drift = (given.entropy.double() - truth.entropy).mean().abs()
    _, rounded = naive(problem, bf16)
    rounded_drift = (rounded.double() - truth.entropy).mean().abs()
    assert drift < 1e-6
    assert rounded_drift > 100 * drift
    assert errors(given.entropy, truth.entropy) < 2e-5
    assert errors(given.log_probs, truth.log_probs) < 2e-5


@pytest.mark.parametrize("impl", ["torch", "triton", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, bf16, torch.float16])
def test_results_are_float32_and_gradients_in_the_dtype_of_their_input(make, dtype, impl):
    problem = make(dtype=dtype).trained()
    stats = problem.run(impl=impl)
    result = torch.float64 if dtype == torch.float64 else torch.float32
    assert stats.log_probs.dtype == stats.entropy.dtype == result
    assert [gradient.dtype for gradient in problem.gradients(stats)] == [dtype] * 3
    torch.testing.assert_close(
        stats.entropy, problem.truth().entropy.to(result), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("hidden", "weight"), [(bf16, torch.float32), (torch.float32, bf16)])
def test_mixed_dtypes_are_computed_in_float32(make, hidden, weight):
    problem = make(64, 64, 512, bias=False, spread=4.0)
    problem = problem.with_(hidden=problem.hidden.to(hidden), weight=problem.weight.to(weight))
    given, truth = problem.run(), problem.truth()
    assert errors(given.entropy, truth.entropy) < 1e-5
    assert errors(given.log_probs, truth.log_probs) < 1e-5


@pytest.mark.parametrize("tile", [(16, 64), (1024, 1024)])
def test_bfloat16_gradients_are_summed_in_float32(make, tile):
    """1000 equal terms: a sum kept in bfloat16 would stop growing at 256 of them."""
    problem = make(1, 16, 256, dtype=bf16, bias=False)
    ones = torch.ones(1000)
    many = problem.with_(
        hidden=problem.hidden.expand(1000, -1),
        targets=problem.targets.expand(1000),
        grad_log_probs=ones,
        grad_entropy=ones,
    ).trained()
    _, given = many.gradients(many.run(tile=tile))
    _, expected = many.gradients(many.truth())
    worst = (given.double() - expected.double()).abs().max() / expected.abs().max()
    assert worst < 2**-7


def test_autocast_rounds_operands_and_nothing_else(make):
    exact = make(64, 64, 512, dtype=torch.float32, bias=False, spread=4.0)
    with torch.autocast("cpu", bf16):
        given, reference = exact.run(tile=(16, 100)), exact.run(impl="reference")
    rounded, truth = exact.to(bf16).truth(), exact.truth()
    assert errors(given.entropy, rounded.entropy) < 1e-5
    assert errors(given.log_probs, rounded.log_probs) < 1e-5
    assert errors(given.entropy, truth.entropy) > 1e-4
    assert errors(reference.entropy, truth.entropy) < 1e-5


def test_backward_inside_autocast_is_backward_outside(make):
    problem = make(dtype=torch.float32).trained()
    with torch.autocast("cpu", bf16):
        inside = problem.gradients(problem.run())
        stats = problem.run()
    for ours, theirs in zip(inside, problem.gradients(stats), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("hidden", "weight", "autocast", "operand"),
    [
        (torch.float32, torch.float32, None, torch.float32),
        (bf16, bf16, None, bf16),
        (bf16, torch.float32, None, torch.float32),
        (bf16, torch.float32, bf16, bf16),
        (torch.float32, torch.float32, bf16, bf16),
        (torch.float32, torch.float32, torch.float16, torch.float32),
        (torch.float16, torch.float16, None, torch.float32),
        (torch.float64, torch.float64, bf16, torch.float64),
    ],
)
def test_operands_follow_dtypes_and_autocast(hidden, weight, autocast, operand):
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        precision = choose_precision(torch.empty(1, dtype=hidden), torch.empty(1, dtype=weight))
    assert precision.operand == operand
    assert precision.result == (torch.float64 if hidden == torch.float64 else torch.float32)


def test_the_onednn_setting_survives_an_error(make, monkeypatch):
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    seen = []

    def fail(*_, **__):
        seen.append(setting.fp32_precision)
        raise ArithmeticError

    monkeypatch.setattr(torch, "addmm", fail)
    setting.fp32_precision = "ieee"
    try:
        with pytest.raises(ArithmeticError):
            make(dtype=bf16).run()
        seen.append(setting.fp32_precision)
    finally:
        setting.fp32_precision = before
    assert seen == ["bf16", "ieee"]


def test_threads_take_turns_with_the_onednn_setting(make):
    """Interleaved, the second thread would save, and later restore, what the first had set."""
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    thread = threading.Thread(target=make(dtype=bf16).run)
    precision = Precision(operand=bf16, result=torch.float32)
    with precision.products(torch.device("cpu")):
        thread.start()
        thread.join(timeout=0.2)
        assert thread.is_alive()
    thread.join(timeout=10.0)
    assert not thread.is_alive()
    assert setting.fp32_precision == before


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_gpu_products_read_bfloat16_and_answer_in_float32(make, cuda_products, impl):
    problem = make(20, 16, 50, dtype=bf16, temperature=0.7).trained()
    expected = problem.run(tile=(8, 16))
    expected_gradients = problem.gradients(expected)
    calls = cuda_products()
    given = problem.run(tile=(8, 16), impl=impl)
    torch.testing.assert_close(given.entropy, expected.entropy)
    torch.testing.assert_close(given.log_probs, expected.log_probs)
    for ours, theirs in zip(problem.gradients(given), expected_gradients, strict=True):
        # A CPU's small products read the gradient of the logits unrounded.
        atol = 2**-8 * theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=atol)
    assert set(calls) == {(bf16, bf16, torch.float32)}


def test_bfloat16_gradients_are_closer_to_the_truth_than_those_of_bfloat16_logits(make):
    problem = make(256, 64, 2048, dtype=bf16, bias=False, spread=4.0).trained()
    truth = problem.gradients(problem.truth())
    ours = problem.gradients(problem.run(tile=(64, 512)))
    log_probs, entropy = naive(problem, bf16)
    plain = problem.gradients(TokenStats(log_probs=log_probs, entropy=entropy))
    for given, rounded, expected in zip(ours, plain, truth, strict=True):
        error = (given.double() - expected).norm() / expected.norm()
        assert error < 2**-8
        assert error < 0.7 * (rounded.double() - expected).norm() / expected.norm()
