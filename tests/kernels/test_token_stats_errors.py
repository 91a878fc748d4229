"""Each bad argument is named, with what was expected and what was given."""

import pytest
import torch

from rlent_kernels import token_stats


def call(**changes):
    arguments = {
        "hidden": torch.zeros(2, 3, 4),
        "weight": torch.zeros(5, 4),
        "targets": torch.zeros(2, 3, dtype=torch.int64),
    }
    return token_stats(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(())}, r"hidden: expected shape \[\*n d\]; got shape \[\]"),
        ({"weight": torch.zeros(5, 3)}, r"weight: expected shape \[v 4\].* got shape \[5 3\]"),
        ({"weight": torch.zeros(5)}, r"weight: expected shape \[v 4\].* got shape \[5\]"),
        ({"weight": torch.zeros(0, 4)}, r"weight: expected shape .*v >= 1.* got shape \[0 4\]"),
        (
            {"targets": torch.zeros(3, 2, dtype=torch.int64)},
            r"targets: expected shape \[2 3\].* got shape \[3 2\]",
        ),
        ({"bias": torch.zeros(4)}, r"bias: expected shape \[5\].* got shape \[4\]"),
        (
            {"hidden": torch.zeros(2, 3, 4, dtype=torch.int32)},
            r"hidden: expected dtype one of torch.float32.* got torch.int32",
        ),
        ({"weight": torch.zeros(5, 4).to(torch.complex64)}, r"weight: .* got torch.complex64"),
        ({"weight": torch.zeros(5, 4).double()}, r"weight: .*float32; got torch.float64"),
        ({"bias": torch.zeros(5).double()}, r"bias: .*float32; got torch.float64"),
        ({"targets": torch.zeros(2, 3)}, r"targets: expected dtype torch.int64; got torch.float32"),
        ({"weight": torch.zeros(5, 4, device="meta")}, r"weight: expected on cpu.*; got meta"),
        ({"temperature": 0.0}, r"temperature: expected a finite number > 0; got 0.0"),
        ({"temperature": float("nan")}, r"temperature: .* got nan"),
        ({"softcap": -1.0}, r"softcap: expected a finite number > 0; got -1.0"),
        ({"logit_scale": float("inf")}, r"logit_scale: .* got inf"),
        ({"tile": (0, 8)}, r"tile: expected two integers >= 1.* got \(0, 8\)"),
        (
            {"tile": (8, 8), "impl": "reference"},
            r"tile: expected None with impl='reference'.* got \(8, 8\)",
        ),
        (
            {"impl": "referense"},
            r"impl: expected one of 'auto', 'torch', 'triton', 'reference'; got 'referense'; "
            r"the nearest name is 'reference'",
        ),
        ({"impl": "tiled"}, r"impl: expected one of .*; got 'tiled'; the nearest name is "),
    ],
)
def test_the_message_names_argument_expectation_and_value(changes, message):
    with pytest.raises(ValueError, match=f"^token_stats: {message}"):
        call(**changes)


@pytest.mark.parametrize("impl", ["torch", "triton", "reference"])
@pytest.mark.parametrize("value", [5, -1, -101])
def test_a_target_outside_the_vocabulary_is_located(impl, value):
    targets = torch.zeros(2, 3, dtype=torch.int64)
    targets[1, 2] = value
    with pytest.raises(
        ValueError,
        match=rf"targets: expected values in \[0, 5\) or .*-100\); got {value} at index \[1, 2\]",
    ):
        call(targets=targets, impl=impl)


def test_the_defaults_of_these_tests_are_valid():
    assert call().log_probs.shape == (2, 3)
