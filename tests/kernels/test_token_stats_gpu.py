"""The same contract on a CUDA device."""

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def cuda(problem):
    tensors = ("hidden", "weight", "bias", "targets", "grad_log_probs", "grad_entropy")
    return problem.with_(**{name: getattr(problem, name).cuda() for name in tensors})


@pytest.mark.parametrize("tile", [None, (64, 300)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 1e-2), (torch.float16, 1e-2)],
)
def test_values_and_gradients_are_those_of_the_definition(make, dtype, tolerance, tile):
    problem = cuda(make(200, 64, 1000, dtype=dtype, ignored=(3,), softcap=5.0)).trained()
    expected, given = problem.truth(), problem.run(tile=tile)
    statistics = {"rtol": min(tolerance, 1e-4), "atol": min(tolerance, 1e-4), "check_dtype": False}
    torch.testing.assert_close(given.log_probs, expected.log_probs, **statistics)
    torch.testing.assert_close(given.entropy, expected.entropy, **statistics)
    gradients = zip(problem.gradients(given), problem.gradients(expected), strict=True)
    for ours, theirs in gradients:
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def test_peak_memory_is_far_below_the_logits(make):
    problem = cuda(make(8192, 16, 32768, dtype=torch.bfloat16)).trained()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    problem.gradients(problem.run(tile=(512, 1024)))
    logits = 8192 * 32768 * 4
    assert torch.cuda.max_memory_allocated() - before < logits // 10
