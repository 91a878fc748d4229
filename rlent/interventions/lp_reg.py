"""Improbable tokens of bad completions, protected where the policy without its noise thinks more of them.

Huang et al., "Low-probability Tokens Sustain Exploration in Reinforcement Learning with Verifiable Reward" (Lp-Reg),
arXiv 2510.03222::

    proxy  = pi_old on the tokens of at least kappa times its largest probability, normalised
    I      = { t : A_t < 0, log pi_old is among the lowest share rho of such tokens, log pi_t < log proxy_t }
    J_t    = r_t A_t - c (exp(d_t) - d_t - 1),  d_t = log proxy_t - log pi_t     where t in I
             clip(r_t) A_t                                                       elsewhere

A token that the filter takes for noise is outside the proxy's support, and so never in ``I``. On the others the penalty
holds against being pushed below the proxy: it is the estimate ``k3`` at the sampled token, whose gradient descends
KL(proxy || policy) (``rlent.divergences``). Released runs bound ratios loosely, by ``trainer.epsilon`` 1 and
``epsilon_high`` 9.

The formula is that of the released code (``rlent conformance``); of the paper only the abstract was read. Choices and
differences:

* Scope. The released code ranks the current log-probabilities of one micro-batch of one rank. The default ranks the
  whole generation batch of all ranks by the policy that generated, as far down as ``floor(rho N)`` of the ``N`` tokens
  with a negative advantage; of equals at the border all are ranked.
* ``as_released`` ranks one micro-batch, takes nothing where that makes fewer than two tokens (at ``rho`` 0.01, below
  200 tokens with a negative advantage), and stops a token's penalty at 10.
* The released filter compares probabilities before the sampling temperature is applied, this one after: they are the
  same at temperature 1, as in the released runs. In other words ``kappa`` is to the power ``1 / temperature`` there.
* The share of tokens with a positive advantage, 0 in the released runs, is left out. Log-ratios are clamped to +-20.

Recipe::

    trainer: {epsilon: 1.0, epsilon_high: 9.0}
    interventions:
      - lp_reg: {share: 0.01, min_p: 0.02, weight: 1.0}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import MAX_LOG_RATIO, NO_BOUND, fill, log_ratio, top_count, whole_count
from rlent.types import Rollouts, Signal, Tokens

_LOG_PROBS = Statistic("log_probs")
_LARGEST_PENALTY = 10.0
"""Of a token, nats; the released code stops there."""


@dataclass(frozen=True, kw_only=True)
class LpReg(Intervention):
    """Hold the least probable tokens of bad completions at a denoised old policy, without bounds on their ratio."""

    name: ClassVar[str] = "lp_reg"
    paper: ClassVar[str] = "Low-probability Tokens Sustain Exploration (Lp-Reg), arXiv 2510.03222"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty", "clip_low", "clip_high"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage"})

    share: float = 0.01
    """Least probable tokens as a share of those with a negative advantage, in [0, 1] (rho)."""
    min_p: float = 0.02
    """Tokens below this share of the largest probability are noise, in (0, 1] (kappa)."""
    weight: float = 1.0
    """Loss per nat of divergence from the proxy (c)."""
    scope: Literal["global", "micro_batch"] = "global"
    """Tokens ranked together: the generation batch of all ranks by the policy that generated, or one micro-batch of one
    rank by the current one."""
    as_released: bool = False
    """The released code: one micro-batch, two tokens at least, and no more than 10 nats of a token."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be in [0, 1], got {self.share}")
        if not 0.0 < self.min_p <= 1.0:
            raise ValueError(f"min_p must be in (0, 1], got {self.min_p}")
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")
        if self.as_released:
            object.__setattr__(self, "scope", "micro_batch")

    @classmethod
    def neutral(cls) -> "LpReg":
        return cls(share=0.0)

    @property
    def proxy(self) -> Statistic:
        """Log-probability of a token under the proxy."""
        return Statistic("kept_log_probs", self.min_p)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old_statistics"})

    @property
    def old_statistics(self) -> frozenset[Statistic]:
        return frozenset({self.proxy} | ({_LOG_PROBS} if self.scope == "global" else set()))

    def build(self) -> "LpRegStages":
        return LpRegStages(self)

    def lowest(
        self, logp: Float[Tensor, "b t"], negative: Bool[Tensor, "b t"]
    ) -> Bool[Tensor, "b t"]:
        """The least probable tokens of a micro-batch."""
        number = whole_count(self.share, negative.sum())
        if self.as_released:
            number = torch.where(number > 1, number, 0)
        return top_count(-logp.detach(), negative, number)


class LpRegStages:
    """Carries the largest log-probability that is low from the generation batch to its micro-batches."""

    def __init__(self, config: LpReg) -> None:
        self._config = config
        self._border = -math.inf

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """Rank the batch; an evaluation's is none that is learnt from."""
        if self._config.scope != "global" or not rollouts.train:
            return advantage, {}
        reduce = rollouts.reduce
        logp = rollouts.old_statistics[_LOG_PROBS]
        negative = rollouts.mask & (fill(advantage, rollouts.mask) < 0)
        number = whole_count(self._config.share, reduce.sum(negative.sum()))
        lowest = logp[top_count(-logp, negative, number, reduce)]
        nothing = logp.new_full((1,), -math.inf)
        self._border = reduce.max(torch.cat([lowest, nothing]).max()).item()
        return advantage, {}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        config, mask = self._config, tokens.mask
        proxy = fill(tokens.old_statistics[config.proxy], mask, -math.inf)
        protected = self._low(tokens, signal) & (fill(tokens.logp.detach(), mask) < proxy)
        moved = log_ratio(proxy, tokens.logp, protected).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        divergence = fill(moved.exp() - moved - 1, protected)
        if config.as_released:
            divergence = divergence.clamp(max=_LARGEST_PENALTY)
        if config.weight != 0.0:
            signal = replace(signal, penalty=signal.penalty + config.weight * divergence)
        signal = replace(
            signal,
            clip_low=torch.where(protected, 0.0, signal.clip_low),
            clip_high=torch.where(protected, NO_BOUND, signal.clip_high),
        )
        return signal, {
            "protected": Mean(protected.sum(), mask.sum()),
            "divergence": Mean(divergence.detach().sum(), protected.sum()),
        }

    def _low(self, tokens: Tokens, signal: Signal) -> Tensor:
        negative = tokens.mask & (fill(signal.advantage, tokens.mask) < 0)
        if self._config.scope == "micro_batch":
            return self._config.lowest(tokens.logp, negative)
        return negative & (fill(tokens.old_statistics[_LOG_PROBS], tokens.mask) <= self._border)
