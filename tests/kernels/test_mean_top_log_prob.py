"""The mean log-probability of the likeliest tokens, against full logits."""

import math

import pytest
import torch

from rlent_kernels import mean_top_log_prob, token_stats

OPTIONS = [{}, {"temperature": 0.6, "logit_scale": 1.5}, {"softcap": 1.5, "temperature": 1.7}]


def run(problem, k, rows=None, **call):
    rows = torch.ones_like(problem.targets, dtype=torch.bool) if rows is None else rows
    return mean_top_log_prob(
        problem.hidden, problem.weight, rows, k, bias=problem.bias, **problem.options, **call
    )


def truth(problem, k):
    scale, cap = problem.options.get("logit_scale", 1.0), problem.options.get("softcap")
    u = scale * (problem.hidden @ problem.weight.T + problem.bias)
    u = u if cap is None else cap * torch.tanh(u / cap)
    means = []
    for z in u / problem.options.get("temperature", 1.0):
        order = sorted(range(len(z)), key=lambda j: -z[j].item())[:k]
        means.append(sum(z[j] - z.logsumexp(0) for j in order) / k)
    return torch.stack(means)


def leaves(problem):
    return problem.hidden, problem.weight, problem.bias


@pytest.mark.parametrize("tile", [None, 3])
@pytest.mark.parametrize("k", [1, 3, 11])
@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_full_logits(make, options, k, tile):
    problem = make(spread=3.0, **options).trained()
    given, expected = run(problem, k, tile=tile), truth(problem, k)
    torch.testing.assert_close(given, expected)
    ours = torch.autograd.grad(given, leaves(problem), problem.grad_entropy)
    theirs = torch.autograd.grad(expected, leaves(problem), problem.grad_entropy)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_gradcheck(make):
    problem = make(4, 3, 6).trained()

    def mean(hidden, weight, bias):
        return run(problem.with_(hidden=hidden, weight=weight, bias=bias), 2, tile=2)

    assert torch.autograd.gradcheck(mean, leaves(problem))


def test_of_one_token_it_is_the_largest_log_probability(make):
    problem = make()
    top = token_stats(*leaves(problem)[:2], problem.targets, bias=problem.bias, top_k=1)
    torch.testing.assert_close(run(problem, 1), top.top_log_probs[:, 0])


def test_rows_that_are_not_chosen_leak_nothing(make):
    problem = make()
    rows = torch.arange(7) != 2
    junk = problem.with_(hidden=problem.hidden.index_fill(0, torch.tensor([2]), math.nan)).trained()
    given = run(junk, 3, rows)
    torch.testing.assert_close(given, truth(problem, 3) * rows)
    given.sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves(junk))


def test_no_tensor_grows_with_rows_times_vocabulary(make, recorder):
    sizes = []
    for n in (64, 128):
        problem = make(n, 4, 4096).trained()
        recorder.largest = 0
        with recorder:
            run(problem, 3, tile=8).sum().backward()
        sizes.append(recorder.largest)
    assert sizes == [8 * 4096] * 2


@pytest.mark.parametrize("k", [0, 12])
def test_errors(make, k):
    with pytest.raises(
        ValueError, match=f"^mean_top_log_prob: k: expected between 1 and 11; got {k}"
    ):
        run(make(), k)
