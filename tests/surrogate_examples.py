"""Tokens, signals and plain ratios that the tests of surrogates share."""

from dataclasses import replace

import torch
from torch import Tensor

from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens

LOW, HIGH = 0.8, 1.28


def drifted(level: str = "token", seed: int = 1) -> tuple[Tokens, Signal]:
    """Ratios of that level on both sides of both bounds, with advantages of both signs."""
    tokens = make_tokens(24, 9, seed=seed, drift=1.0)
    if level != "token":  # whole rows move, because a row's own drifts average out
        shift = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64).unsqueeze(1)
        tokens = replace(tokens, logp=(tokens.logp.detach() + shift).requires_grad_())
    return tokens, make_signal(tokens, seed=seed, low=LOW, high=HIGH)


def plain_ratio(tokens: Tokens, level: str) -> Tensor:
    """Ratios by a loop over rows, differentiable, with no stop-gradient and no clamp."""
    if level == "token":
        return (tokens.logp - tokens.old_logp).exp()
    rows = []
    for logp, old_logp, mask in zip(tokens.logp, tokens.old_logp, tokens.mask, strict=True):
        ratios = (logp[mask] - old_logp[mask]).exp()
        ratio = ratios.mean() if level == "sequence_arithmetic" else ratios.log().mean().exp()
        rows.append(ratio.expand(len(mask)))
    return torch.stack(rows)


def value_and_gradient(per_token: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Losses of the tokens that count, and the gradient of a sum that weighs each of them differently."""
    weights = torch.linspace(0.5, 2.0, per_token.numel(), dtype=per_token.dtype)
    counted = per_token[tokens.mask]
    total = (counted * weights.view_as(per_token)[tokens.mask]).sum()
    return counted.detach(), torch.autograd.grad(total, tokens.logp)[0]


def at_log_ratios(
    log_ratios: list[float], advantage: float, dtype: torch.dtype
) -> tuple[Tokens, Signal]:
    """One token per row, so that sequence ratios are token ratios."""
    mask = torch.ones(len(log_ratios), 1, dtype=torch.bool)
    tokens = make_tokens(len(log_ratios), 1, dtype=dtype, mask=mask)
    old_logp = torch.zeros_like(tokens.old_logp)
    logp = torch.tensor(log_ratios, dtype=dtype).unsqueeze(1).requires_grad_()
    tokens = replace(tokens, logp=logp, old_logp=old_logp)
    return tokens, replace(
        make_signal(tokens, low=LOW, high=HIGH), advantage=torch.full_like(old_logp, advantage)
    )
