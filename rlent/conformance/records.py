"""A golden case as rlent's records."""

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.conformance.cases import Case
from rlent.types import Signal, Tokens


def tokens_of(case: Case, *, entropy: Float[Tensor, "b t"] | None = None) -> Tokens:
    """The micro-batch of a case; ``logp`` is a leaf with gradient.

    Args:
        entropy: nats; zeros where the method reads none.
    """
    logp = case.inputs["logp"].clone().requires_grad_()
    return Tokens(
        logp=logp,
        entropy=torch.zeros_like(logp) if entropy is None else entropy,
        old_logp=case.inputs["old_logp"],
        old_entropy=None,
        ref_logp=case.inputs.get("ref_logp"),
        mask=case.mask,
        group=torch.zeros(len(logp), dtype=torch.int64),
        reward=torch.zeros_like(logp[:, 0]),
        step=0,
    )


def signal_of(
    tokens: Tokens, advantage: Float[Tensor, "b t"], bounds: tuple[float, float]
) -> Signal:
    """PPO's signal: every token learns, no gradient is kept outside ``bounds`` on the ratio."""
    one = torch.ones_like(tokens.old_logp)
    return Signal(
        select=tokens.mask,
        count=tokens.mask,
        advantage=advantage,
        weight=one,
        clip_low=bounds[0] * one,
        clip_high=bounds[1] * one,
        keep_low=0.0 * one,
        keep_high=0.0 * one,
        penalty=0.0 * one,
    )


def gradients(loss: Float[Tensor, ""], *leaves: Tensor) -> tuple[Tensor, ...]:
    """Gradient of the loss in each leaf, zeros where none flows."""
    return torch.autograd.grad(loss, leaves, materialize_grads=True)
