"""A golden case as rlent's records."""

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.conformance.cases import Case
from rlent.types import Rollouts, Signal, Tokens


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


def rollouts_of(tokens: Tokens) -> Rollouts:
    """The generation batch, of one prompt, of which ``tokens`` is the only micro-batch."""
    rows = len(tokens.mask)
    empty = torch.zeros(rows, 0, dtype=torch.int64)
    return Rollouts(
        prompt_ids=empty,
        completion_ids=torch.zeros_like(tokens.mask, dtype=torch.int64),
        mask=tokens.mask,
        group=tokens.group,
        old_logp=tokens.old_logp,
        old_entropy=tokens.old_entropy,
        ref_logp=tokens.ref_logp,
        texts=None,
        reward_parts=tokens.reward.unsqueeze(1),
        reward_names=("reward",),
        reward=tokens.reward,
        truncated=torch.zeros(rows, dtype=torch.bool),
        answers=None,
        step=tokens.step,
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
