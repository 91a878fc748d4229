"""The loss with gradients formed in forward, against autograd through the definition."""

import pytest
import torch

import rlent_kernels.loss_in_forward
from rlent_kernels import IGNORE_INDEX, token_loss
from tests.kernels.conftest import IMPLEMENTATIONS

CALLS = [{k: v for k, v in calls.items() if k != "keep_logits"} for calls in IMPLEMENTATIONS]
CALLS = [calls for at, calls in enumerate(CALLS) if calls not in CALLS[:at]]


def surrogate(coefficient):
    """Bends both statistics, so that each derivative depends on its own value."""

    def loss(log_probs, entropy, rows):
        return coefficient[rows] * (log_probs.exp() + 0.3 * entropy.square())

    return loss


def run(problem, loss, **calls):
    return token_loss(
        problem.hidden,
        problem.weight,
        problem.targets,
        loss,
        bias=problem.bias,
        **problem.options,
        **calls,
    )


def gradients(problem, loss):
    inputs = [x for x in (problem.hidden, problem.weight, problem.bias) if x is not None]
    return torch.autograd.grad(2.5 * loss, [x for x in inputs if x.requires_grad])


def assert_agrees(problem, coefficient, calls, rtol=1e-9):
    problem = problem.trained()
    loss, truth = surrogate(coefficient), problem.truth()
    rows = (problem.targets.reshape(-1) != IGNORE_INDEX).nonzero()[:, 0]
    expected = loss(truth.log_probs.reshape(-1)[rows], truth.entropy.reshape(-1)[rows], rows).sum()
    given = run(problem, loss, **calls)
    tolerance = {"rtol": rtol, "atol": rtol}
    torch.testing.assert_close(given.loss, expected, **tolerance)
    torch.testing.assert_close(given.stats.log_probs, truth.log_probs.detach(), **tolerance)
    torch.testing.assert_close(given.stats.entropy, truth.entropy.detach(), **tolerance)
    pairs = zip(gradients(problem, given.loss), gradients(problem, expected), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.fixture(params=[2**26, 5 * 11 * 8])
def panels(request, monkeypatch):
    """All rows at once, and five at a time."""
    monkeypatch.setattr(rlent_kernels.loss_in_forward, "PANEL_BYTES", request.param)


@pytest.mark.usefixtures("panels")
@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize("ignored", [(), (0, 4)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [{}, {"softcap": 1.5, "temperature": 1.7, "logit_scale": 2.5}])
def test_value_and_gradients_are_those_of_the_definition(make, options, bias, ignored, calls):
    problem = make(13, bias=bias, ignored=ignored, spread=3.0, **options)
    coefficient = torch.randn(13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_agrees(problem, coefficient, calls)
    assert_agrees(problem, coefficient * (torch.arange(13) % 3 == 0), calls)


@pytest.mark.parametrize("calls", CALLS)
def test_leading_shape_is_kept(make, calls):
    flat = make(6)
    shaped = flat.with_(hidden=flat.hidden.reshape(2, 3, -1), targets=flat.targets.reshape(2, 3))
    assert_agrees(shaped, torch.linspace(-1, 1, 6, dtype=torch.float64), calls)


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize("n", [0, 3])
def test_nothing_to_compute_stays_in_the_graph(make, n, calls):
    problem = make(n).with_(targets=torch.full((n,), IGNORE_INDEX)).trained()
    given = run(problem, surrogate(torch.ones(n)), **calls)
    assert given.loss.item() == 0.0
    for gradient in gradients(problem, given.loss):
        assert not gradient.any()


@pytest.mark.parametrize(
    ("frozen", "products"),
    [
        ((), [((20, 5), (5, 300)), ((20, 300), (300, 5)), ((300, 20), (20, 5))]),
        (("weight",), [((20, 5), (5, 300)), ((20, 300), (300, 5))]),
        (("hidden",), [((20, 5), (5, 300)), ((300, 20), (20, 5))]),
        (("hidden", "weight", "bias"), [((20, 5), (5, 300))]),
    ],
)
def test_three_products_and_none_for_what_is_frozen(make, recorder, frozen, products):
    problem = make(20, 5, 300).trained()
    for name in frozen:
        getattr(problem, name).requires_grad_(False)
    with recorder:
        given = run(problem, surrogate(torch.ones(20)), tile=(20, 300))
        if len(frozen) < 3:
            gradients(problem, given.loss)
    assert recorder.products == products


def test_rows_without_derivative_take_part_in_one_product(make, recorder):
    problem = make(20, 5, 300).trained()
    coefficient = torch.zeros(20)
    coefficient[[3, 7, 11]] = 1.0
    with recorder:
        run(problem, surrogate(coefficient), tile=(20, 300))
    assert recorder.products == [((20, 5), (5, 300)), ((3, 300), (300, 5)), ((300, 3), (3, 5))]


@pytest.mark.parametrize("calls", CALLS)
def test_a_loss_of_one_statistic_alone(make, calls):
    problem = make(bias=False).trained()
    given = run(problem, lambda log_probs, entropy, rows: -log_probs, **calls)
    truth = problem.truth()
    torch.testing.assert_close(given.loss, -truth.log_probs.sum())
    pairs = zip(
        gradients(problem, given.loss), gradients(problem, -truth.log_probs.sum()), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("calls", CALLS)
def test_a_constant_loss_has_no_gradient(make, calls):
    problem = make().trained()
    given = run(problem, lambda log_probs, entropy, rows: torch.ones_like(log_probs), **calls)
    assert given.loss.item() == 7.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("calls", CALLS)
def test_gradients_are_in_the_dtype_of_their_input(make, dtype, calls):
    problem = make(dtype=dtype).trained()
    given = run(problem, surrogate(torch.ones(7)), **calls)
    assert given.loss.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients(problem, given.loss)] == [dtype] * 3


def test_second_derivatives_are_refused(make):
    problem = make().trained()
    given = run(problem, surrogate(torch.ones(7)))
    with pytest.raises(RuntimeError, match=r"token_loss: differentiable once.* impl='reference'"):
        torch.autograd.grad(given.loss, problem.hidden, create_graph=True)


@pytest.mark.parametrize("calls", CALLS)
def test_a_loss_of_another_shape_is_refused(make, calls):
    with pytest.raises(ValueError, match=r"loss: expected to return shape \[7\].*; got shape \[\]"):
        run(make(), lambda log_probs, entropy, rows: log_probs.sum(), **calls)
