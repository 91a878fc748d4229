"""AlignDistil: its weights, and its optimum, which is the teacher whatever the weights are."""

import pytest
import torch
from torch import Tensor

from rlent.losses import AlignDistil, Answers, Head
from rlent_kernels import FixedHead
from tests.losses.examples import answers, kept

MODELS = {"dpo_model": "a", "reverse_model": "b"}
TRANSFORM = {"temperature": 1.0, "logit_scale": 1.0, "softcap": None}


def heads() -> dict[str, FixedHead]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: FixedHead(
            hidden=torch.randn(2, 3, 5, generator=generator, dtype=torch.float64),
            weight=torch.eye(5).double(),
        )
        for name in MODELS
    }


def measured(loss: AlignDistil, logits: Tensor) -> Answers:
    targets = torch.tensor([[0, 1, -100], [2, 3, 4]])
    identity = torch.eye(5).double()
    head = Head(hidden=logits, weight=identity, bias=None, targets=targets, transform=TRANSFORM)
    values = loss.measure(head, heads())
    return Answers(logp=values["push"], ref_logp=None, mask=head.rows, measured=values)


@pytest.mark.parametrize("beta2", [0.0, 0.5, 10.0])
def test_the_teacher_is_the_optimum_whatever_the_push(beta2: float) -> None:
    loss, given = AlignDistil(**MODELS, beta2=beta2), heads()
    dpo, reverse = (torch.softmax(given[name].hidden, -1) for name in MODELS)
    push = beta2 * (dpo - reverse).abs().sum(-1, keepdim=True) + 1e-3
    z_dpo, z_reverse = (given[name].hidden for name in MODELS)
    teacher = (z_dpo + push * (z_dpo - z_reverse)).requires_grad_()
    answers_ = measured(loss, teacher)
    losses = loss.per_token(answers_).losses
    (gradient,) = torch.autograd.grad(losses[answers_.mask].sum(), teacher)
    assert losses[answers_.mask].abs().max() < 1e-9
    assert gradient.abs().max() < 1e-9
    torch.testing.assert_close(answers_.measured["push"], push[..., 0] * answers_.mask)


def test_losses_and_metrics() -> None:
    each = answers(0, measured=("teacher_kl", "push"))
    result = AlignDistil(**MODELS, beta=0.3).per_token(each)
    divergence, push = (kept(each.measured[name], each.mask) for name in ("teacher_kl", "push"))
    for losses, kl, w in zip(kept(result.losses, each.mask), divergence, push, strict=True):
        assert losses == pytest.approx([0.3 / b * a for a, b in zip(kl, w, strict=True)])
    for name, values in (("teacher_kl", divergence), ("push", push)):
        mean = result.metrics[f"align_distil/{name}"]
        assert mean.total == pytest.approx(sum(map(sum, values)))
        assert mean.count == 6


def test_roles_are_the_options() -> None:
    loss = AlignDistil(**MODELS)
    assert loss.teachers == MODELS
    assert loss.measures_against == MODELS.keys()
    assert not loss.off_by_one
    assert AlignDistil(**MODELS, as_released=True).off_by_one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta must be positive"),
        ({"beta2": -1.0}, "beta2 must not be negative"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlignDistil(**MODELS, **options)
