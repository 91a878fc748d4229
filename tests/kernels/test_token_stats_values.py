"""Values and gradients against the definitions in float64."""

import pytest
import torch

from rlent_kernels import token_stats
from tests.kernels.conftest import IMPLEMENTATIONS

OPTIONS = [
    {},
    {"temperature": 0.6},
    {"logit_scale": 0.0625},
    {"softcap": 1.5},
    {"softcap": 1.5, "temperature": 1.7, "logit_scale": 2.5},
]


def assert_agrees(problem, calls, rtol=1e-9):
    problem = problem.trained()
    expected, given = problem.truth(), problem.run(**calls)
    tolerance = {"rtol": rtol, "atol": rtol}
    torch.testing.assert_close(given.log_probs, expected.log_probs, **tolerance)
    torch.testing.assert_close(given.entropy, expected.entropy, **tolerance)
    expected, given = problem.gradients(expected), problem.gradients(given)
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("ignored", [(), (0, 4)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_the_definition(make, options, bias, ignored, calls):
    assert_agrees(make(bias=bias, ignored=ignored, spread=3.0, **options), calls)


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("n", "d", "v"), [(1, 1, 1), (7, 5, 1), (6, 5, 12), (7, 5, 13), (3, 4, 4), (2, 3, 2)]
)
def test_sizes_need_not_divide_into_tiles(make, n, d, v, calls):
    assert_agrees(make(n, d, v, temperature=0.7), calls)


@pytest.mark.parametrize("column", [0, 5, 10])
def test_a_target_is_found_in_any_tile(make, column):
    problem = make()
    assert_agrees(
        problem.with_(targets=torch.full_like(problem.targets, column)),
        {"impl": "torch", "tile": (3, 4)},
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(make, options):
    problem = make(4, 3, 6, ignored=(1,)).trained()

    def outputs(hidden, weight, bias):
        stats = token_stats(hidden, weight, problem.targets, bias=bias, tile=(3, 4), **options)
        return stats.log_probs, stats.entropy

    assert torch.autograd.gradcheck(outputs, (problem.hidden, problem.weight, problem.bias))


def test_auto_is_torch(make):
    problem = make()
    auto, tiled = problem.run(), problem.run(impl="torch")
    assert torch.equal(auto.log_probs, tiled.log_probs)
    assert torch.equal(auto.entropy, tiled.entropy)


@pytest.mark.parametrize("impl", ["torch", "triton", "reference"])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (3, 1, 2)])
def test_leading_shape_is_kept(make, shape, impl):
    flat = make(torch.Size(shape).numel())
    shaped = flat.with_(
        hidden=flat.hidden.reshape(*shape, -1), targets=flat.targets.reshape(shape)
    ).trained()
    stats = shaped.run(impl=impl)
    assert stats.log_probs.shape == stats.entropy.shape == shape
    torch.testing.assert_close(stats.log_probs.reshape(-1), flat.truth().log_probs)
    (stats.log_probs.sum() + stats.entropy.sum()).backward()
    assert shaped.hidden.grad.shape == shaped.hidden.shape


def test_strides_do_not_matter(make):
    problem = make()
    transposed = problem.with_(
        hidden=problem.hidden.T.contiguous().T, weight=problem.weight.T.contiguous().T
    )
    assert_agrees(transposed, {"tile": (3, 4)})


def test_entropy_of_equal_logits_is_log_v(make):
    problem = make(3, 4, 11, bias=False)
    stats = problem.with_(weight=torch.zeros_like(problem.weight)).run(tile=(2, 4))
    torch.testing.assert_close(stats.entropy, torch.full_like(stats.entropy, 11.0).log())
    torch.testing.assert_close(stats.log_probs, -stats.entropy)


def test_second_derivatives_are_refused(make):
    problem = make().trained()
    with pytest.raises(RuntimeError, match=r"differentiable once.* impl='reference'"):
        problem.gradients(problem.run(), create_graph=True)


def test_the_reference_has_second_derivatives(make):
    problem = make().trained()
    norms = []
    for stats in (problem.run(impl="reference"), problem.truth()):
        hidden, weight, _ = problem.gradients(stats, create_graph=True)
        norms.append(torch.autograd.grad(hidden.square().sum() + weight.sum(), problem.hidden)[0])
    torch.testing.assert_close(norms[0], norms[1])
