"""Tokens are left out where the policy has moved too far, measured by a divergence and not by the ratio.

Qi et al., "Rethinking the Trust Region in LLM Reinforcement Learning", arXiv 2602.04879 (DPPO)::

    loss_t = -sg(min(r_t, c)) A_t logp_t   where the token is inside, 0 elsewhere

    A > 0: outside where p > q and D(q, p) > delta_high;    A < 0: outside where p < q and D(q, p) > delta

with ``p`` and ``q`` the probabilities of the sampled token under the current and the generating policy, and ``D`` the
divergence of the two-outcome distributions "this token or another"::

    tv:  |p - q|                            kl:  q log(q / p) + (1 - q) log((1 - q) / (1 - p))

The paper's form over the ``k`` likeliest tokens needs more than these probabilities and is not here. Checked against
verl's ``dppo_tv`` and ``dppo_kl`` (``rlent conformance``), which add 1e-8 inside the logarithm; of the paper, the
abstract was read. Widths are the paper's as others state them, 0.2 and 0.05; ``c = 20`` is verl's. Recipe::

    trainer: {loss_type: dapo, surrogate: {dppo: {divergence: tv, delta: 0.2}}}
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.numerics import fill, safe_ratio
from rlent.surrogates.contract import PerToken, Sides, Surrogate, ratio_exponent
from rlent.types import Signal, Tokens

_DELTA = {"tv": 0.2, "kl": 0.05}


@dataclass(frozen=True, kw_only=True)
class DPPO(Surrogate):
    """Leave out tokens whose probability has moved too far, and truncate the ratio: ``-sg(min(r, c)) A logp``."""

    name: ClassVar[str] = "dppo"
    paper: ClassVar[str] = "Rethinking the Trust Region, arXiv 2602.04879"

    divergence: Literal["tv", "kl"] = "tv"
    """Total variation, or KL divergence in nats, of "this token or another"."""
    delta: float | None = None
    """Largest divergence of a token whose probability falls with ``A < 0``; null is 0.2 for tv and 0.05 for kl."""
    delta_high: float | None = None
    """Largest divergence of a token whose probability rises with ``A > 0``; null is ``delta``."""
    max_ratio: float | None = 20.0
    """Largest coefficient ``c``; null truncates nothing."""

    def __post_init__(self) -> None:
        for name in ("delta", "delta_high"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.max_ratio is not None and self.max_ratio < 1:
            raise ValueError(f"max_ratio must be at least 1, got {self.max_ratio}")

    @property
    def widths(self) -> tuple[float, float]:
        """``delta`` and ``delta_high`` in numbers."""
        low = _DELTA[self.divergence] if self.delta is None else self.delta
        return low, low if self.delta_high is None else self.delta_high

    def clipped(self, tokens: Tokens, signal: Signal) -> Sides:
        logp, old_logp = fill(tokens.logp.detach(), tokens.mask), fill(tokens.old_logp, tokens.mask)
        advantage = fill(signal.advantage, tokens.mask)
        moved = self._moved(logp, old_logp)
        low, high = self.widths
        falls, rises = (logp < old_logp) & (moved > low), (logp > old_logp) & (moved > high)
        return falls & (advantage < 0), rises & (advantage > 0)

    def _moved(self, logp: PerToken, old_logp: PerToken) -> PerToken:
        if self.divergence == "tv":
            return (logp.exp() - old_logp.exp()).abs()
        other, old_other = _log_of_others(logp), _log_of_others(old_logp)
        return old_logp.exp() * (old_logp - logp) - old_logp.expm1() * (old_other - other)

    def measures(self, tokens: Tokens, signal: Signal) -> dict[str, PerToken]:
        if self.max_ratio is None:
            return {}
        beyond = safe_ratio(ratio_exponent(tokens, "token")) > self.max_ratio
        return {"dppo/truncated_ratio": beyond.to(tokens.logp.dtype)}

    def __call__(self, tokens: Tokens, signal: Signal) -> PerToken:
        ratio = safe_ratio(ratio_exponent(tokens, "token"))
        if self.max_ratio is not None:
            ratio = ratio.clamp(max=self.max_ratio)
        below, above = self.clipped(tokens, signal)
        loss = -ratio * signal.advantage * fill(tokens.logp, tokens.mask)
        return fill(loss, tokens.mask & ~(below | above))


def _log_of_others(logp: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """``log(1 - exp(logp))``, finite where a token has all of the probability."""
    return (-logp.expm1()).clamp(min=torch.finfo(logp.dtype).tiny).log()
