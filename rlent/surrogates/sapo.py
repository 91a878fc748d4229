"""A soft gate on the ratio in place of a clip.

"Soft Adaptive Policy Optimization", arXiv 2511.20347, as TRL and verl have it (the paper itself was not read)::

    loss_t = -(4 / tau) sigmoid(tau (r_t - 1)) A_t          tau = tau_pos where A_t > 0, tau_neg elsewhere

The gradient factor is ``4 sigmoid'(tau (r - 1)) r``: 1 at ``r = 1``, and it falls smoothly on either side. No bound is
read. TRL's names of the options are ``sapo_temperature_pos``, ``sapo_temperature_neg`` and
``importance_sampling_level``; both TRL and verl average over sequences. Recipes::

    trainer: {loss_type: sapo, sapo_temperature_neg: 1.05}

    trainer: {loss_type: dapo, surrogate: {sapo: {temperature_negative: 1.05}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch

from rlent.numerics import fill, safe_ratio, unit
from rlent.surrogates.contract import Level, PerToken, Surrogate, ratio_exponent
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class SAPO(Surrogate):
    """Gate the ratio softly: ``-(4 / tau) sigmoid(tau (r - 1)) A``."""

    name: ClassVar[str] = "sapo"
    paper: ClassVar[str] = "Soft Adaptive Policy Optimization, arXiv 2511.20347"
    trl_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "importance_sampling_level": "level",
            "sapo_temperature_pos": "temperature_positive",
            "sapo_temperature_neg": "temperature_negative",
        }
    )

    temperature_positive: float = 1.0
    """``tau`` where the advantage is positive; higher is a narrower gate."""
    temperature_negative: float = 1.05
    """``tau`` elsewhere."""
    level: Level = "token"
    """Whose ratio is gated: a token's, or a sequence's by the geometric or the arithmetic mean."""

    def __post_init__(self) -> None:
        for name in ("temperature_positive", "temperature_negative"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def ratio_level(self) -> Level:
        return self.level

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        exponent = ratio_exponent(tokens, self.level)
        advantage = fill(signal.advantage, tokens.mask)
        tau = torch.full_like(advantage, self.temperature_negative).masked_fill(
            advantage > 0, self.temperature_positive
        )
        ratio = safe_ratio(exponent) * unit(exponent)
        return fill(-torch.sigmoid(tau * (ratio - 1)) * 4 / tau * advantage, tokens.mask)
