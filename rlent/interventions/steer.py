"""Less weight on the tokens whose update would change entropy most.

"Rethinking Entropy Interventions in RLVR: An Entropy Change Perspective" (STEER), arXiv 2510.10150. To first order one
step changes the entropy of the policy at token ``t`` in proportion to::

    Omega_t = I_t r_t A_t pi_t (1 - pi_t) (log pi_t + H_t)         I_t = 0 where the token has no gradient, 1 elsewhere
    w_t     = exp( log(w_min) |Omega_t| / max |Omega| )                                                w_min 0.7

so the token with the largest change has weight ``w_min`` and one without any has 1. A token has no gradient where PPO
clips it or where it is not selected; it sets no maximum either. ``H_t`` is the entropy at generation (nats), ``pi_t``
the current probability, and no gradient flows through the weight. It multiplies the clipped surrogate, and the
denominator counts all tokens.

``estimator: exact`` is the whole first-order term of a step on the logits of that token's distribution (nats, current
policy, at the sampling temperature), of which the product keeps what the sampled token's own logit does::

    Omega_t = I_t r_t A_t ( pi_t (log pi_t + H_t) - sum_j pi_j^2 (log pi_j + H_t) )

Its sum over the vocabulary is formed in the head together with the entropy; no logits are kept.

Of the paper, second-hand accounts were read that agree with each other. They leave open which tokens the maximum is of:

* Scope. The default is the tokens of the whole generation batch of all ranks, which does not depend on how the batch is
  split; the released code takes one micro-batch of one rank. The wide scopes (``global``, ``rank``, ``group``) are
  measured once per generation batch by the policy that generated, at ratio 1, and a token that moves further in a later
  update has weight ``w_min``. The narrow ones (``micro_batch``, ``sequence``) are measured by the current policy.
* Advantages that an earlier intervention changes token by token in the micro-batch (``entropy_advantage``) are not yet
  changed when a wide scope is measured; the narrow ones see them.

The released code (``rlent conformance``) is ``estimator: released``, which differs in three things, and
``as_released`` is that with the settings of its scripts: one micro-batch, ``w_min`` 0.8 (0.7 is the paper's fourth
version, second-hand), and ``w_max`` 1.2 where the shape is linear.

* It lacks one factor ``pi_t``, so that unlikely tokens lose far more weight than by the equation.
* It has no ``I_t``: clipped tokens set the maximum too, and are weighted.
* Its maximum is at least 0.02 (exponential weights only).

``shape: linear`` is in the released code alone: ``w_max - (|Omega_t| - min) / (max - min) (w_max - w_min)``, and the
mean of both weights where all tokens are equal. Recipe::

    interventions:
      - steer: {min_weight: 0.7}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions.extremes import (
    Extremes,
    extremes_of_all,
    extremes_of_groups,
    extremes_of_rows,
)
from rlent.interventions.ratios import clipped_tokens, token_ratio
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.released import take_released_settings
from rlent.types import Rollouts, Selection, Signal, Tokens

_TINY = 1e-30
_RELEASED_FLOOR = 0.02
"""Smallest maximum of ``|Omega|`` in the released exponential weights."""
_EXACT = Statistic("entropy_change")


@dataclass(frozen=True, kw_only=True)
class Steer(Intervention):
    """Weight every token by how much its update would change entropy: from 1 down to ``min_weight``."""

    name: ClassVar[str] = "steer"
    paper: ClassVar[str] = "STEER, arXiv 2510.10150"
    writes: ClassVar[frozenset[str]] = frozenset({"weight"})
    reads: ClassVar[frozenset[str]] = frozenset({"advantage", "select", "clip_low", "clip_high"})

    min_weight: float = 0.7
    """Weight of the token with the largest entropy change, in (0, 1]."""
    shape: Literal["exponential", "linear"] = "exponential"
    """How the weight falls with the entropy change."""
    max_weight: float = 1.0
    """Weight of the token with the smallest entropy change; read by ``shape: linear``."""
    estimator: Literal["product", "exact", "released"] = "product"
    """The entropy change: the paper's product, the whole first-order term, or the released product, which lacks one
    factor of the probability, takes clipped tokens in, and has a floor."""
    scope: Literal["global", "rank", "micro_batch", "group", "sequence"] = "global"
    """Tokens that the largest change is of: those of all ranks, of this rank, of a micro-batch, a prompt's group, a
    completion."""
    as_released: bool = False
    """The released scripts: their estimator, one micro-batch, and their weights."""

    def __post_init__(self) -> None:
        if self.as_released:
            take_released_settings(self, self.released)
        if not 0.0 < self.min_weight <= 1.0:
            raise ValueError(f"min_weight must be in (0, 1], got {self.min_weight}")
        if not self.min_weight <= self.max_weight < math.inf:
            raise ValueError(f"max_weight must be at least min_weight, got {self.max_weight}")
        if self.shape == "exponential" and self.max_weight != 1.0:
            raise ValueError(
                "max_weight belongs to shape: linear, but shape: exponential is set; remove one of the two"
            )

    @property
    def released(self) -> dict[str, object]:
        """Settings of the released scripts, one for each shape."""
        settings: dict[str, object] = {
            "estimator": "released",
            "scope": "micro_batch",
            "min_weight": 0.8,
        }
        return settings | ({"max_weight": 1.2} if self.shape == "linear" else {})

    @classmethod
    def neutral(cls) -> "Steer":
        return cls(min_weight=1.0)

    @property
    def before_updates(self) -> bool:
        """Whether the largest change is that of the whole generation batch, before its first update."""
        return self.scope in ("global", "rank", "group")

    @property
    def needs(self) -> frozenset[str]:
        current, old = (
            ("statistics", "old_statistics")
            if self.estimator == "exact"
            else ("old_entropy", "old_logp")
        )
        return frozenset(
            {current}
            | ({old} if self.before_updates else set())
            | ({"whole_groups"} if self.scope == "group" else set())
        )

    @property
    def statistics(self) -> frozenset[Statistic]:
        return frozenset({_EXACT} if self.estimator == "exact" else ())

    @property
    def old_statistics(self) -> frozenset[Statistic]:
        return self.statistics if self.before_updates else frozenset()

    def build(self) -> "SteerStages":
        return SteerStages(self)

    def product(
        self, logp: Float[Tensor, "b t"], entropy: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b t"]:
        """``Omega / (r A)`` from the token's log-probability."""
        change = (1 - logp.exp()) * (logp + entropy)
        return change if self.estimator == "released" else change * logp.exp()

    def learning(
        self, select: Bool[Tensor, "b t"], mask: Bool[Tensor, "b t"]
    ) -> Bool[Tensor, "b t"]:
        """Tokens that are weighted, but for those that PPO clips."""
        return mask if self.estimator == "released" else mask & select

    def weights(self, change: Float[Tensor, "b t"], extremes: Extremes) -> Float[Tensor, "b t"]:
        """``w`` of each ``|Omega|``."""
        if self.shape == "exponential":
            # A maximum of 0 is met by no token, so any positive one gives the same weights.
            floor = _RELEASED_FLOOR if self.estimator == "released" else _TINY
            share = (change / extremes.most.clamp(min=floor)).clamp(max=1)
            return (math.log(self.min_weight) * share).exp()
        width = extremes.most - extremes.least
        share = ((change - extremes.least) / width.clamp(min=_TINY)).clamp(0, 1)
        return self.max_weight - torch.where(width > 0, share, 0.5) * (
            self.max_weight - self.min_weight
        )


class SteerStages:
    """Carries the extremes of a generation batch to its micro-batches."""

    def __init__(self, config: Steer) -> None:
        self._config = config
        self._change: Tensor | None = None
        self._extremes: dict[bool, Extremes] = {}
        """An evaluation, which may come between two updates on a generation batch, has its own."""

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """``|Omega|`` of every token at ratio 1."""
        config, mask = self._config, rollouts.mask
        if not config.before_updates:
            return advantage, {}
        if config.estimator == "exact":
            change = fill(rollouts.old_statistics[_EXACT], mask)
        else:
            assert rollouts.old_logp is not None
            assert rollouts.old_entropy is not None
            change = config.product(fill(rollouts.old_logp, mask), fill(rollouts.old_entropy, mask))
        self._change = (change * fill(advantage, mask)).abs()
        return advantage, {}

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        """Its extremes over the tokens that learn."""
        if self._config.before_updates:
            assert self._change is not None
            learning = self._config.learning(selection.select, rollouts.mask)
            self._extremes[rollouts.train] = self._measured(self._change, learning, rollouts)
            self._change = None
        return selection, {}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        config = self._config
        active = config.learning(signal.select, tokens.mask)
        if config.estimator != "released":
            active = active & ~clipped_tokens(tokens, signal)
        change = fill(self._entropy_change(tokens, signal), active)
        factor = fill(
            config.weights(change, self._extremes_for(tokens, change, active)), active, 1.0
        )
        metrics = {
            "weight": Mean(fill(factor, tokens.mask).sum(), tokens.mask.sum()),
            "entropy_change": Mean(change.sum(), active.sum()),
        }
        return replace(signal, weight=signal.weight * factor), metrics

    def _entropy_change(self, tokens: Tokens, signal: Signal) -> Float[Tensor, "b t"]:
        """``|Omega|`` but for the indicator."""
        if self._config.estimator == "exact":
            change = fill(tokens.statistics[_EXACT], tokens.mask)
        else:
            assert tokens.old_entropy is not None
            logp = fill(tokens.logp.detach(), tokens.mask)
            change = self._config.product(logp, fill(tokens.old_entropy, tokens.mask))
        return (token_ratio(tokens) * change * fill(signal.advantage, tokens.mask)).abs()

    def _measured(
        self, change: Float[Tensor, "n t"], learning: Bool[Tensor, "n t"], rollouts: Rollouts
    ) -> Extremes:
        match self._config.scope:
            case "global":
                return extremes_of_all(change, learning, rollouts.reduce)
            case "group":
                return extremes_of_groups(change, learning, rollouts.group)
            case _:
                return extremes_of_all(change, learning)

    def _extremes_for(
        self, tokens: Tokens, change: Float[Tensor, "b t"], active: Bool[Tensor, "b t"]
    ) -> Extremes:
        """In a shape that stands beside the micro-batch's tokens."""
        match self._config.scope:
            case "micro_batch":
                return extremes_of_all(change, active)
            case "sequence":
                return extremes_of_rows(change, active)
            case _:
                return self._extremes[tokens.train].of_rows(tokens.group)
