"""Small random records that the tests of interventions and surrogates share."""

import torch
from torch import Tensor

from rlent.reduce import LOCAL, Reduce
from rlent.types import Rollouts, Selection, Signal, Tokens

GENERATIONS = 2


def ragged_mask(rows: int, length: int, generator: torch.Generator) -> Tensor:
    """Completions of random length, at least one token each."""
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    return torch.arange(length).expand(rows, length) < lengths


def make_tokens(
    rows: int = 4,
    length: int = 7,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    drift: float = 0.3,
    mask: Tensor | None = None,
) -> Tokens:
    """Random log-probabilities and entropies; ``drift`` is the spread of the log-ratio."""
    g = torch.Generator().manual_seed(seed)
    old = -torch.rand(rows, length, generator=g, dtype=dtype) * 3
    logp = (old + drift * torch.randn(rows, length, generator=g, dtype=dtype)).clamp(max=-1e-3)
    entropy = torch.rand(rows, length, generator=g, dtype=dtype) * 2
    return Tokens(
        logp=logp.requires_grad_(),
        entropy=entropy.requires_grad_(),
        old_logp=old,
        old_entropy=torch.rand(rows, length, generator=g, dtype=dtype) * 2,
        ref_logp=old + 0.1 * torch.randn(rows, length, generator=g, dtype=dtype),
        mask=ragged_mask(rows, length, g) if mask is None else mask,
        group=torch.arange(rows) // GENERATIONS,
        reward=(torch.rand(rows, generator=g) < 0.5).to(dtype),
        step=3,
        ref_kl=torch.rand(rows, length, generator=g, dtype=dtype).requires_grad_(),
    )


def make_signal(tokens: Tokens, *, seed: int = 0, low: float = 0.8, high: float = 1.28) -> Signal:
    """One advantage per row, PPO's bounds, nothing selected away."""
    g = torch.Generator().manual_seed(seed + 100)
    advantage = torch.randn(len(tokens.mask), 1, generator=g, dtype=tokens.logp.dtype)
    one = torch.ones_like(tokens.logp)
    return Signal(
        select=tokens.mask,
        count=tokens.mask,
        advantage=advantage.expand_as(tokens.mask),
        weight=one,
        clip_low=low * one,
        clip_high=high * one,
        keep_low=0.0 * one,
        keep_high=0.0 * one,
        penalty=0.0 * one,
    )


def make_rollouts(tokens: Tokens, *, seed: int = 0, reduce: Reduce = LOCAL) -> Rollouts:
    """The rollouts whose first update ``tokens`` would be."""
    g = torch.Generator().manual_seed(seed + 200)
    rows, length = tokens.mask.shape
    reward = tokens.reward
    return Rollouts(
        prompt_ids=torch.ones(rows, 3, dtype=torch.long),
        completion_ids=torch.randint(5, 20, (rows, length), generator=g),
        mask=tokens.mask,
        group=tokens.group,
        old_logp=tokens.old_logp,
        old_entropy=tokens.old_entropy,
        ref_logp=tokens.ref_logp,
        texts=tuple(f"The answer is {row % 3}." for row in range(rows)),
        reward_parts=reward.unsqueeze(1),
        reward_names=("right",),
        reward=reward,
        truncated=torch.zeros(rows, dtype=torch.bool),
        answers=None,
        step=tokens.step,
        reduce=reduce,
    )


def everything(mask: Tensor) -> Selection:
    return Selection(select=mask, count=mask)
