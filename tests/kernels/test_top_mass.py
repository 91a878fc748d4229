"""The probability of the likeliest tokens beside the target."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent_kernels import token_stats, top_mass

OPTIONS = [{}, {"temperature": 0.6}, {"softcap": 1.5, "temperature": 1.7, "logit_scale": 2.5}]


def head(n: int = 6, v: int = 9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + 97 * v)
    hidden = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(v, 5, generator=generator, dtype=torch.float64)
    bias = torch.randn(v, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, v, (n,), generator=generator)
    targets[2] = -100
    return hidden, weight, bias, targets


def probabilities(hidden: Tensor, weight: Tensor, bias: Tensor, **options: Any) -> Tensor:
    z = (hidden @ weight.T + bias) * options.get("logit_scale", 1.0)
    if (cap := options.get("softcap")) is not None:
        z = cap * torch.tanh(z / cap)
    return torch.softmax(z / options.get("temperature", 1.0), dim=-1)


@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients(options, k, tile):
    hidden, weight, bias, targets = head()
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    given = top_mass(hidden, weight, targets, k, bias=bias, tile=tile, **options)
    rows = probabilities(hidden, weight, bias, **options)
    expected = []
    for p, target in zip(rows, targets.tolist(), strict=True):
        ranked = sorted(range(len(p)), key=lambda j: -p[j].item())[:k]
        counted = [p[j] for j in ranked if j != target] if target >= 0 else []
        expected.append(sum(counted, torch.zeros((), dtype=torch.float64)))
    expected = torch.stack(expected)
    torch.testing.assert_close(given, expected)
    cotangent = torch.arange(1.0, 7.0, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(given, leaves, cotangent),
        torch.autograd.grad(expected, leaves, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_with_all_tokens_it_is_what_the_target_leaves():
    hidden, weight, bias, targets = head()
    mass = top_mass(hidden, weight, targets, 9, bias=bias)
    left = 1 - token_stats(hidden, weight, targets, bias=bias).log_probs.exp()
    torch.testing.assert_close(mass, left.masked_fill(targets < 0, 0.0))


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(options):
    hidden, weight, bias, targets = head(4, 6)
    leaves = tuple(tensor.requires_grad_() for tensor in (hidden, weight, bias))

    def mass(hidden, weight, bias):
        return top_mass(hidden, weight, targets, 2, bias=bias, tile=2, **options)

    assert torch.autograd.gradcheck(mass, leaves)


def test_ignored_rows_leak_nothing():
    hidden, weight, bias, targets = head()
    clean = top_mass(hidden, weight, targets, 3, bias=bias)
    junk = hidden.index_fill(0, torch.tensor([2]), math.nan)
    assert torch.equal(top_mass(junk, weight, targets, 3, bias=bias), clean)
    assert clean[2] == 0


def test_no_tensor_grows_with_rows_times_vocabulary(recorder):
    sizes = []
    for n in (64, 128):
        hidden, weight, bias, targets = head(n, 4096)
        hidden.requires_grad_()
        recorder.largest = 0
        with recorder:
            top_mass(hidden, weight, targets, 10, bias=bias, tile=8).sum().backward()
        sizes.append(recorder.largest)
    assert sizes == [8 * 4096] * 2


@pytest.mark.parametrize(
    ("k", "target", "message"),
    [
        (0, 0, "k: expected between 1 and 9; got 0"),
        (10, 0, "k: expected between 1 and 9; got 10"),
        (3, 9, "targets: expected ids below 9, or -100"),
        (3, -1, "targets: expected ids below 9, or -100"),
    ],
)
def test_errors(k, target, message):
    hidden, weight, _, _ = head()
    with pytest.raises(ValueError, match=message):
        top_mass(hidden, weight, torch.full((6,), target), k)
