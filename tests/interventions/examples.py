"""Small random records that the tests of interventions and surrogates share."""

import torch
from torch import Tensor

from rlent.distributions import DIFFERENTIABLE, Statistic
from rlent.reduce import LOCAL, Reduce
from rlent.types import BudgetTree, Rollouts, Selection, Signal, Tokens

GENERATIONS = 2
NUCLEUS = (Statistic("nucleus_entropy", 0.8), Statistic("open_nucleus_entropy", 0.8))
OLD_STATISTICS = (
    Statistic("log_probs"),
    Statistic("logsumexp"),
    Statistic("mean_logits"),
    Statistic("kept_log_probs", 0.02),
    *NUCLEUS,
    Statistic("entropy_change"),
)
"""What the records hold of the generating policy's distributions: all that the laws' configurations ask for."""
STATISTICS: tuple[Statistic, ...] = (
    *NUCLEUS,
    Statistic("clamped_entropy", 0.3),
    Statistic("is_top1"),
    Statistic("mean_top_log_prob", 3),
    Statistic("next_entropy"),
    Statistic("entropy_change"),
)
"""And of the current policy's."""


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
    g, apart, of_prompts = (
        torch.Generator().manual_seed(number) for number in (seed, seed + 300, seed + 400)
    )

    def made(statistic: Statistic) -> Tensor:
        values = torch.rand(rows, length, generator=apart, dtype=dtype) * 2
        if statistic.name == "kept_log_probs":
            return torch.where(values < 0.6, -torch.inf, -values)
        if statistic.name == "is_top1":
            return values < 1.0
        if statistic.name == "entropy_change":
            return (values - 1.0) / 2
        return -values if "log_prob" in statistic.name else values

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
        statistics={
            each: made(each).requires_grad_(each.name in DIFFERENTIABLE) for each in STATISTICS
        },
        old_statistics={each: made(each) for each in OLD_STATISTICS},
        prompt_logp=(-torch.rand(rows, 3, generator=of_prompts, dtype=dtype)).requires_grad_(),
        prompt_mask=torch.rand(rows, 3, generator=of_prompts) < 0.7,
        per_completion=torch.rand(rows, 1, generator=of_prompts, dtype=dtype).expand(rows, length),
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


def make_budgets(mask: Tensor) -> BudgetTree:
    """The rows as summaries at budgets of 1 and 3 tokens where their number allows, else of 3 alone."""
    rows, length = mask.shape
    levels = (1, 3) if rows % 4 == 0 else (3,)
    traces = 2 if rows % 2 == 0 else 1
    prompt, rest = torch.arange(rows) // (traces * len(levels)), torch.arange(rows)
    level = rest // traces % len(levels)
    place = torch.arange(length).expand(rows, length)
    thinking = torch.searchsorted(torch.tensor(levels), place.contiguous(), right=True)
    segment = torch.where((level == len(levels) - 1).unsqueeze(1), thinking, len(levels))
    return BudgetTree(
        levels=levels,
        generations=traces,
        trace=prompt * traces + rest % traces,
        level=level,
        reached=level,
        segment=torch.where(place == 3, -1, segment),
    )


def make_rollouts(tokens: Tokens, *, seed: int = 0, reduce: Reduce = LOCAL) -> Rollouts:
    """The rollouts whose first update ``tokens`` would be."""
    g = torch.Generator().manual_seed(seed + 200)
    rows, length = tokens.mask.shape
    reward = tokens.reward
    return Rollouts(
        prompt_ids=torch.stack([torch.ones_like(tokens.group), tokens.group + 5], dim=1),
        prompt_mask=torch.ones(rows, 2, dtype=torch.bool),
        completion_ids=torch.randint(5, 20, (rows, length), generator=g),
        mask=tokens.mask,
        group=tokens.group,
        old_logp=tokens.old_logp,
        old_entropy=tokens.old_entropy,
        old_statistics=tokens.old_statistics,
        ref_logp=tokens.ref_logp,
        texts=tuple(f"The answer is {row % 3}." for row in range(rows)),
        reward_parts=reward.unsqueeze(1),
        reward_names=("right",),
        reward=reward,
        truncated=torch.zeros(rows, dtype=torch.bool),
        answers=None,
        step=tokens.step,
        budgets=make_budgets(tokens.mask),
        vocabulary=("wait", " But", "so", "the") * 5,
        reduce=reduce,
    )


def everything(mask: Tensor) -> Selection:
    return Selection(select=mask, count=mask)
