"""A KL penalty on the tokens of highest covariance.

Cui et al., "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models", arXiv 2505.22617
(KL-Cov)::

    Cov_t = (A_t - mean A) (log pi_t - mean log pi)                   means over the tokens of the batch
    I_KL  = { t : rank of Cov_t <= k N }
    J_t   = r_t A_t - beta KL(pi_old || pi)_t  where t in I_KL, and  r_t A_t  elsewhere

with ``r = pi / pi_old``. The objective bounds no ratio, and so the recipe's bounds are lifted; ``clip: true`` keeps
them. Released settings are ``k`` 2e-3 and ``beta`` 1 at 7B; verl's port has 2e-4 and 0.1.

Checked against the released code (``rlent conformance``); of the paper, only second-hand accounts were read:

* The paper writes a KL divergence; the released code and this file take ``|log r_t|`` of the sampled token. Its
  gradient is 0 where ``r = 1``, so nothing happens with one update per generation batch, and several are needed.
* Scope. The released code ranks inside one micro-batch of one rank. The default is the whole generation batch of all
  ranks, by the generating policy: the tokens at or above the covariance of number ``floor(k N)``, as far as it is
  positive. With an earlier intervention that changes advantages in the micro-batch (``entropy_advantage``) take
  ``scope: micro_batch``, or the number is not ``floor(k N)``.
* ``as_released`` takes one micro-batch, and at least one token of it, which in micro-batches of less than ``1 / k``
  tokens is more than ``k``. The released setting is in percent (and is lowered to the number of tokens if it is larger
  than that), verl's and this one are shares.

Recipe::

    interventions:
      - kl_cov: {share: 0.002, weight: 1.0}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.covariance import Centre, centre
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import NO_BOUND, fill, log_ratio, top_count, whole_count
from rlent.types import Rollouts, Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class KLCov(Intervention):
    """Penalise ``|log ratio|`` on the share of tokens with the highest covariance; no bounds on the ratio."""

    name: ClassVar[str] = "kl_cov"
    paper: ClassVar[str] = "The Entropy Mechanism, arXiv 2505.22617"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty", "clip_low", "clip_high"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage"})

    share: float = 2e-3
    """Tokens penalised as a share of all tokens of the scope, in [0, 1] (k)."""
    weight: float = 1.0
    """Loss per nat of ``|log ratio|`` (beta)."""
    clip: bool = False
    """Keep the recipe's bounds on the ratio; the paper's objective has none."""
    scope: Literal["global", "micro_batch"] = "global"
    """Tokens ranked together: the generation batch of all ranks by the generating policy, or one micro-batch of one
    rank by the current one."""
    as_released: bool = False
    """The released code: one micro-batch, and at least one token of it."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be in [0, 1], got {self.share}")
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")
        if self.as_released:
            object.__setattr__(self, "scope", "micro_batch")

    @classmethod
    def neutral(cls) -> "KLCov":
        return cls(weight=0.0, clip=True)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"several_updates"} | ({"old_logp"} if self.scope == "global" else set()))

    def build(self) -> "KLCovStages":
        return KLCovStages(self)

    def selected(self, tokens: Tokens, signal: Signal) -> Bool[Tensor, "b t"]:
        """Tokens of a micro-batch that are penalised."""
        given = tokens.logp, signal.advantage, tokens.mask
        number = whole_count(self.share, tokens.mask.sum()).clamp(min=1 if self.as_released else 0)
        return top_count(centre(*given).covariance(*given), tokens.mask, number)


class KLCovStages:
    """Carries the means and the threshold of the generation batch to its micro-batches."""

    def __init__(self, config: KLCov) -> None:
        self._config = config
        self._measured: dict[bool, tuple[Centre, Tensor]] = {}
        """By whether it is a training batch: an evaluation may come before a batch has been learnt from."""

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        if self._config.scope != "global":
            return advantage, {}
        assert rollouts.old_logp is not None
        mask, reduce = rollouts.mask, rollouts.reduce
        means = centre(rollouts.old_logp, advantage, mask, reduce)
        covariance = means.covariance(rollouts.old_logp, advantage, mask)
        number = whole_count(self._config.share, reduce.sum(mask.sum()))
        highest = covariance[top_count(covariance, mask, number, reduce)]
        nothing = covariance.new_full((1,), math.inf)
        self._measured[rollouts.train] = means, reduce.min(torch.cat([highest, nothing]).min())
        return advantage, {"covariance": Mean(covariance.sum(), mask.sum())}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        config = self._config
        selected = (
            self._above_threshold(tokens, signal)
            if config.scope == "global"
            else config.selected(tokens, signal)
        )
        distance = fill(log_ratio(tokens.logp, tokens.old_logp, tokens.mask).abs(), selected)
        metrics = {
            "selected": Mean(selected.sum(), tokens.mask.sum()),
            "distance": Mean(distance.detach().sum(), selected.sum()),
        }
        if config.weight != 0.0:
            signal = replace(signal, penalty=signal.penalty + config.weight * distance)
        if not config.clip:
            none = torch.full_like(signal.clip_high, NO_BOUND)
            signal = replace(signal, clip_low=torch.zeros_like(none), clip_high=none)
        return signal, metrics

    def _above_threshold(self, tokens: Tokens, signal: Signal) -> Tensor:
        means, threshold = self._measured[tokens.train]
        covariance = means.covariance(tokens.old_logp, signal.advantage, tokens.mask)
        return tokens.mask & (covariance >= threshold) & (covariance > 0)
