"""The entropy on the likeliest tokens: values, gradients, ties, absent tokens, and what is held."""

import math
import sys

import pytest
import torch

from rlent_kernels import restricted_entropy

# The package's name of the module is taken by the function.
MODULE = sys.modules["rlent_kernels.restricted_entropy"]
RESTRICTIONS = [
    {"top_p": 0.8},
    {"top_p": 0.8, "crossing": False},
    {"top_p": 1e-6},
    {"top_p": 1.0},
    {"top_k": 1},
    {"top_k": 4},
    {"top_k": 11},
]
OPTIONS = [{}, {"temperature": 0.6, "logit_scale": 1.5}, {"softcap": 1.5, "temperature": 1.7}]


def run(problem, rows=None, **call):
    rows = torch.ones_like(problem.targets, dtype=torch.bool) if rows is None else rows
    return restricted_entropy(
        problem.hidden, problem.weight, rows, bias=problem.bias, **problem.options, **call
    )


def full_logits(problem):
    """``z`` [n v] through autograd."""
    scale, cap = problem.options.get("logit_scale", 1.0), problem.options.get("softcap")
    u = problem.hidden @ problem.weight.T
    u = scale * (u if problem.bias is None else u + problem.bias)
    u = u if cap is None else cap * torch.tanh(u / cap)
    return u / problem.options.get("temperature", 1.0)


def kept(z, top_p=None, top_k=None, crossing=True):
    """Numbers of the tokens of one row that are kept, in plain Python."""
    order = sorted(range(len(z)), key=lambda j: -z[j])
    if top_k is not None:
        return order[:top_k]
    total = math.fsum(math.exp(x - max(z)) for x in z)
    chosen, mass = [], 0.0
    for j in order:
        if mass >= top_p:
            break
        chosen.append(j)
        mass += math.exp(z[j] - max(z)) / total
    return chosen if crossing or len(chosen) == 1 or mass < top_p else chosen[:-1]


def truth(problem, **restriction):
    """The definition: renormalise each row on its kept tokens."""
    entropies = []
    for z in full_logits(problem):
        log_q = z[kept(z.tolist(), **restriction)].log_softmax(0)
        entropies.append(-(log_q.exp() * log_q).sum())
    return torch.stack(entropies)


def leaves(problem):
    return [leaf for leaf in (problem.hidden, problem.weight, problem.bias) if leaf is not None]


@pytest.mark.parametrize("tile", [None, 3])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_values_and_gradients_are_those_of_full_logits(make, restriction, options, tile):
    problem = make(spread=3.0, **options).trained()
    given, expected = run(problem, tile=tile, **restriction), truth(problem, **restriction)
    torch.testing.assert_close(given, expected)
    cotangent = problem.grad_entropy
    ours = torch.autograd.grad(given, leaves(problem), cotangent)
    theirs = torch.autograd.grad(expected, leaves(problem), cotangent)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("restriction", [{"top_p": 0.7}, {"top_k": 3}])
def test_gradcheck(make, restriction):
    problem = make(4, 3, 6).trained()

    def outputs(hidden, weight, bias):
        return run(problem.with_(hidden=hidden, weight=weight, bias=bias), tile=2, **restriction)

    assert torch.autograd.gradcheck(outputs, leaves(problem))


@pytest.mark.parametrize("restriction", [{"top_p": 0.3}, {"top_p": 0.999}, {"top_k": 150}])
def test_large_sets(make, restriction):
    """More tokens than are looked at first."""
    problem = make(12, 5, 300, spread=1.0)
    torch.testing.assert_close(run(problem, **restriction), truth(problem, **restriction))


def test_the_whole_vocabulary_has_the_whole_entropy(make):
    problem = make(ignored=())
    for restriction in ({"top_p": 1.0}, {"top_k": 11}):
        torch.testing.assert_close(run(problem, **restriction), problem.truth().entropy)


@pytest.mark.parametrize("crossing", [True, False])
def test_a_nucleus_of_one_token_has_no_entropy_and_no_gradient(make, crossing):
    problem = make()
    bias = problem.bias.index_fill(0, torch.tensor([4]), 50.0)
    problem = problem.with_(bias=bias).trained()
    entropy = run(problem, top_p=0.8, crossing=crossing)
    assert entropy.tolist() == [0.0] * 7
    entropy.sum().backward()
    assert all(not leaf.grad.any() for leaf in leaves(problem))


def test_of_equals_at_the_border_as_many_are_kept_as_fit(make):
    """Four tokens of probability 1/4: three reach 0.7 whichever they are."""
    problem = make(2, 1, 4, bias=False)
    problem = problem.with_(weight=torch.zeros_like(problem.weight)).trained()
    for restriction, number in (({"top_p": 0.7}, 3), ({"top_k": 2}, 2)):
        entropy = run(problem, **restriction)
        assert entropy.tolist() == pytest.approx([math.log(number)] * 2)
        (gradient,) = torch.autograd.grad(entropy.sum(), problem.weight)
        assert gradient.abs().max() < 1e-12  # the entropy of equals is at its maximum
    assert run(problem, top_p=0.7, crossing=False).tolist() == pytest.approx([math.log(2)] * 2)
    # 1/4 + 1/4 reaches 1/2 exactly: the second token is the one that crosses.
    assert run(problem, top_p=0.5, crossing=False).tolist() == [0.0] * 2


@pytest.mark.parametrize("restriction", [{"top_p": 0.9}, {"top_k": 6}, {"top_k": 10}])
def test_banned_tokens_are_as_if_absent(make, restriction):
    left = [0, 2, 3, 5, 6, 7, 8, 9]
    problem = make(spread=3.0)
    banned = torch.tensor([1, 4, 10])
    smaller = problem.with_(weight=problem.weight[left], bias=problem.bias[left]).trained()
    problem = problem.with_(bias=problem.bias.index_fill(0, banned, -torch.inf)).trained()
    few = {name: min(value, len(left)) for name, value in restriction.items()}
    given, expected = run(problem, **restriction), truth(smaller, **few)
    torch.testing.assert_close(given, expected)
    hidden, weight, bias = torch.autograd.grad(given.sum(), leaves(problem))
    others = torch.autograd.grad(expected.sum(), leaves(smaller))
    for mine, other in zip((hidden, weight[left], bias[left]), others, strict=True):
        torch.testing.assert_close(mine, other)
    assert not weight[banned].any()
    assert not bias[banned].any()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_rows_that_are_not_chosen_cost_and_leak_nothing(make, recorder, poison):
    problem = make(20, 5, 300).trained()
    rows = torch.zeros(20, dtype=torch.bool)
    rows[[3, 7, 11, 12]] = True
    expected = torch.autograd.grad((truth(problem, top_p=0.8) * rows).sum(), leaves(problem))
    hidden = problem.hidden.detach().where(rows[:, None], poison).requires_grad_()
    problem = problem.with_(hidden=hidden)
    with recorder:
        entropy = run(problem, rows, top_p=0.8)
        given = torch.autograd.grad(entropy.sum(), leaves(problem))
    assert entropy[~rows].tolist() == [0.0] * 16
    assert not given[0][~rows].any()
    for mine, other in zip(given, expected, strict=True):
        torch.testing.assert_close(mine, other)
    product = ((4, 5), (5, 300))
    assert recorder.products == [product, product, ((4, 300), (300, 5)), ((300, 4), (4, 5))]


@pytest.mark.parametrize("restriction", [{"top_p": 0.8}, {"top_k": 100}])
def test_no_tensor_grows_with_rows_times_vocabulary(make, recorder, restriction):
    sizes = []
    for n in (64, 128):
        problem = make(n, 4, 4096).trained()
        recorder.largest = 0
        with recorder:
            run(problem, tile=8, **restriction).sum().backward()
        sizes.append(recorder.largest)
    assert sizes == [8 * 4096] * 2


@pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 4), (torch.float64, 2)])
def test_the_default_tile_is_a_panel(make, recorder, monkeypatch, dtype, rows):
    monkeypatch.setattr(MODULE, "PANEL_BYTES", 4 * 300 * 4)
    with recorder:
        run(make(8, 5, 300, dtype=dtype), top_p=0.8)
    assert recorder.products == [((rows, 5), (5, 300))] * (8 // rows)


@pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
def test_leading_shape_is_kept(make, shape):
    flat = make(torch.Size(shape).numel())
    shaped = flat.with_(hidden=flat.hidden.reshape(*shape, 5), targets=flat.targets.reshape(shape))
    assert run(shaped, top_p=0.5).shape == shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_loses_nothing_but_its_inputs(make, dtype):
    problem = make(64, 32, 512, dtype=dtype, spread=4.0)
    exact = problem.to(torch.float64)
    given = run(problem, top_k=50)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given.double(), truth(exact, top_k=50), rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_refused(make):
    problem = make().trained()
    with pytest.raises(RuntimeError, match="restricted_entropy: differentiable once"):
        torch.autograd.grad(run(problem, top_p=0.8).sum(), problem.hidden, create_graph=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, r"top_p: expected one of top_p and top_k; got top_p=None, top_k=None"),
        ({"top_p": 0.5, "top_k": 2}, r"top_p: expected one of top_p and top_k"),
        ({"top_p": 0.0}, r"top_p: expected a number in \(0, 1\]; got 0.0"),
        ({"top_p": math.nan}, r"top_p: expected a number in \(0, 1\]; got nan"),
        ({"top_k": 0}, r"top_k: expected between 1 and 11; got 0"),
        ({"top_k": 12}, r"top_k: expected between 1 and 11; got 12"),
        ({"top_k": 3, "crossing": False}, r"crossing: expected True with top_k; got False"),
        ({"top_p": 0.5, "tile": 0}, r"tile: expected an integer >= 1, rows; got 0"),
        ({"top_p": 0.5, "rows": torch.ones(6, dtype=torch.bool)}, r"hidden: expected shape"),
        ({"top_p": 0.5, "rows": torch.ones(7)}, r"rows: expected dtype torch.bool"),
    ],
)
def test_the_message_names_argument_expectation_and_value(make, call, message):
    with pytest.raises(ValueError, match=f"^restricted_entropy: {message}"):
        run(make(), **call)
