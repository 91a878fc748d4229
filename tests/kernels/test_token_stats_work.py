"""What is computed and what is held: matrix products, gradients and the largest tensor."""

import pytest
import torch

TILE = (16, 256)


def largest_tensor(problem, recorder, **calls):
    with recorder:
        problem.gradients(problem.run(**calls))
    return recorder.largest


def test_no_tensor_grows_with_rows_times_vocabulary(make, recorder):
    sizes = []
    for n in (128, 256):
        recorder.largest = 0
        sizes.append(
            largest_tensor(make(n, 4, 4096).trained(), recorder, tile=TILE, keep_logits=False)
        )
    parameters = 4096 * 4
    assert sizes == [parameters, parameters]
    assert sizes[0] < 128 * 4096 // 16


def test_the_reference_holds_all_logits(make, recorder):
    """The measure of the test above sees what it is to see."""
    problem = make(128, 4, 4096).trained()
    assert largest_tensor(problem, recorder, impl="reference") == 128 * 4096


def test_forward_alone_computes_each_logit_once(make, recorder):
    with recorder, torch.no_grad():
        stats = make(20, 5, 300).run(tile=(20, 300))
    assert not stats.log_probs.requires_grad
    assert recorder.products == [((20, 5), (5, 300))]


@pytest.mark.parametrize(
    ("frozen", "products"),
    [
        ((), [((20, 5), (5, 300)), ((20, 300), (300, 5)), ((300, 20), (20, 5))]),
        (("weight",), [((20, 5), (5, 300)), ((20, 300), (300, 5))]),
        (("hidden",), [((20, 5), (5, 300)), ((300, 20), (20, 5))]),
        (("hidden", "weight"), [((20, 5), (5, 300))]),
    ],
)
def test_only_needed_gradients_are_computed(make, recorder, frozen, products):
    problem = make(20, 5, 300).trained()
    for name in frozen:
        getattr(problem, name).requires_grad_(False)
    stats = problem.run(tile=(20, 300), keep_logits=False)
    with recorder:
        (stats.log_probs.sum() + 0.1 * stats.entropy.sum()).backward()
    assert recorder.products == products
    for name in ("hidden", "weight", "bias"):
        assert (getattr(problem, name).grad is None) == (name in frozen)


def test_a_frozen_bias_gets_no_gradient(make):
    problem = make().trained()
    problem.bias.requires_grad_(False)
    stats = problem.run()
    stats.entropy.sum().backward()
    assert problem.bias.grad is None
    assert problem.weight.grad is not None


def test_nothing_required_means_no_graph(make):
    stats = make().run()
    assert not stats.log_probs.requires_grad
    assert not stats.entropy.requires_grad


def test_rows_without_cotangents_enter_no_product(make, recorder):
    problem = make(20, 5, 300, ignored=(7,)).trained()
    used = torch.zeros(20, dtype=torch.bool)
    used[[3, 7, 11, 12]] = True
    sparse = problem.with_(
        grad_log_probs=problem.grad_log_probs * used,
        # Row 19 has a cotangent of the entropy only; row 7 is ignored whatever it receives.
        grad_entropy=problem.grad_entropy * used.index_fill(0, torch.tensor([3]), False),
    )
    sparse.grad_entropy[19] = 0.5
    stats = sparse.run(tile=(20, 300), keep_logits=False)
    with recorder:
        given = sparse.gradients(stats)
    assert recorder.products == [((4, 5), (5, 300)), ((4, 300), (300, 5)), ((300, 4), (4, 5))]
    for ours, theirs in zip(given, sparse.gradients(sparse.truth()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_zero_cotangents_cost_no_work_per_tile(make, recorder):
    operators = []
    for tile in ((20, 300), (20, 30)):
        problem = make(20, 5, 300, dtype=torch.bfloat16).trained()
        stats = problem.run(tile=tile, keep_logits=False)
        recorder.operators = 0
        with recorder:
            (0.0 * stats.log_probs.sum()).backward()
        operators.append(recorder.operators)
        for leaf in (problem.hidden, problem.weight, problem.bias):
            assert torch.equal(leaf.grad, torch.zeros_like(leaf))
    assert recorder.products == []
    assert operators[0] == operators[1]


def test_ignored_rows_enter_no_product(make, recorder):
    with recorder:
        make(20, 5, 300, ignored=tuple(range(15))).run(tile=(20, 300), keep_logits=False)
    assert recorder.products == [((5, 5), (5, 300))]
