"""A smooth weight of the whole sequence's importance ratio on every log-probability.

Shen et al., "VESPO: Variational Sequence-Level Soft Policy Optimization", arXiv 2602.10693, in TRL's form (the paper
was not read)::

    loss_t = -sg(phi(w)) A_t logp_t        phi(w) = w^k exp(lambda (1 - w))        w = exp( sum_t log r_t )

``w`` is the ratio of the sequence's probabilities, without the length in it; ``phi(1) = 1``. ``k`` and ``lambda`` are
chosen by the sign of the advantage, 0 counting as positive. Token log-ratios are clamped to +-20, ``log w`` to
``log(1e-8)`` .. 20, as TRL does.

TRL's names of the options are ``vespo_k_pos``, ``vespo_lambda_pos``, ``vespo_k_neg`` and ``vespo_lambda_neg``.
``vespo/phi_seq_mean`` is the mean of ``phi`` over the sequences that have tokens. TRL multiplies vLLM's correction into
``w``; here it is refused. Recipes::

    trainer: {loss_type: vespo, vespo_k_pos: 2.0}

    trainer: {loss_type: grpo, surrogate: {vespo: {k_positive: 2.0}}}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.numerics import MAX_LOG_RATIO, fill
from rlent.surrogates.contract import PerToken, Surrogate, ratio_exponent
from rlent.types import Signal, Tokens

_LOWEST = math.log(1e-8)
_SMALLEST_DECAY = 1e-4


@dataclass(frozen=True, kw_only=True)
class VESPO(Surrogate):
    """Weight the log-probability softly by the sequence's ratio: ``-sg(w^k exp(lambda (1 - w))) A logp``."""

    name: ClassVar[str] = "vespo"
    paper: ClassVar[str] = "VESPO, arXiv 2602.10693"
    takes_sampling_correction: ClassVar[bool] = False
    trl_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "vespo_k_pos": "k_positive",
            "vespo_lambda_pos": "lambda_positive",
            "vespo_k_neg": "k_negative",
            "vespo_lambda_neg": "lambda_negative",
        }
    )

    k_positive: float = 2.0
    """Power of ``w`` where the advantage is not negative: how fast unlikely sequences lose weight."""
    lambda_positive: float = 3.0
    """Decay in ``w`` where the advantage is not negative: how fast sequences that became likelier lose weight."""
    k_negative: float = 3.0
    """Power where the advantage is negative."""
    lambda_negative: float = 2.0
    """Decay where the advantage is negative."""

    def __post_init__(self) -> None:
        for name in ("lambda_positive", "lambda_negative"):
            if getattr(self, name) < _SMALLEST_DECAY:
                raise ValueError(
                    f"{name} must be at least {_SMALLEST_DECAY}, got {getattr(self, name)}"
                )

    def weight(self, tokens: Tokens, signal: Signal) -> Float[Tensor, "b t"]:
        """``phi(w)`` of every token, without gradient."""
        per_token = ratio_exponent(tokens, "token").detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        log_w = per_token.sum(-1, keepdim=True).clamp(_LOWEST, MAX_LOG_RATIO)
        negative = fill(signal.advantage, tokens.mask) < 0
        power = torch.full_like(per_token, self.k_positive).masked_fill(negative, self.k_negative)
        decay = torch.full_like(per_token, self.lambda_positive)
        decay = decay.masked_fill(negative, self.lambda_negative)
        return (decay + power * log_w - decay * log_w.exp()).exp()

    def measures(self, tokens: Tokens, signal: Signal) -> dict[str, Float[Tensor, "b 1"]]:
        count = tokens.mask.sum(-1, keepdim=True).clamp(min=1)
        weight = fill(self.weight(tokens, signal), tokens.mask)
        return {"vespo/phi_seq_mean": weight.sum(-1, keepdim=True) / count}

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        weight = self.weight(tokens, signal)
        return fill(-weight * signal.advantage * fill(tokens.logp, tokens.mask), tokens.mask)
