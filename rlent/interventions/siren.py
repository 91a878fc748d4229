"""Entropy held where it was at the start, on the likeliest tokens of the least certain positions.

"Rethinking Entropy Regularization in Large Reasoning Models" (SIREN), arXiv 2509.25133::

    H_t    = entropy of the current policy on its nucleus of mass p, normalised there (nats)
    m_t    = H_t above the tau-quantile of its completion
    Hbar   = mean over completions of the mean of H_t over their tokens with m_t
    L      = L_policy + c (Hbar - H_anchor)^2,    H_anchor = Hbar of the first generation batch

Per token, with ``a`` the distance ``Hbar - H_anchor`` as a constant, ``n`` the tokens of the completion and ``k`` those
with ``m_t``::

    penalty_t = 2 c a m_t (n / k) H_t

whose mean over a completion is ``2 c a`` times its mean of ``H_t``, so that its gradient is that of ``L`` where the
loss type averages over completions (grpo); other loss types weigh completions by their length. The loss holds this
linear form, the metric ``loss`` the square.

Of the paper only the abstract and second-hand accounts were read; the defaults are those of the released code, which
has the same formula (``rlent conformance``). Where they part, or leave something open:

* Scope. The released code takes ``Hbar`` of one micro-batch by the current policy, so that the loss depends on the
  split. By default it is that of the generation batch of all ranks by the policy that generated, which is the current
  one in the first update. The anchor is in either case that of the run's first batch by the policy that generated it.
* Nucleus. The released code leaves out the token with which the mass reaches ``p``: where one token has as much, its
  entropy is 0.
* ``as_released`` has both, and counts completions of which nothing is selected, as 0. The code's nucleus is among the
  10,000 most probable tokens; here it is not bounded. Two of its faults are mended: padding never enters ``m_t``, and
  nothing is added inside the logarithm.

Recipe::

    trainer: {epsilon_high: 0.28}
    interventions:
      - siren: {weight: 0.005}
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill, row_quantile
from rlent.types import Rollouts, Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class Siren(Intervention):
    """Penalise the squared distance of a selective mean entropy from its value at the start."""

    name: ClassVar[str] = "siren"
    paper: ClassVar[str] = "Rethinking Entropy Regularization (SIREN), arXiv 2509.25133"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})

    weight: float = 0.005
    """Loss per square nat (c)."""
    top_p: float = 0.8
    """Mass of the nucleus that entropy is taken on, in (0, 1]."""
    quantile: float = 0.8
    """Tokens above this quantile of their completion's nucleus entropies are regularised, in [0, 1) (tau)."""
    anchor: float | None = None
    """Mean entropy that is held, nats; null is that of the run's first generation batch."""
    scope: Literal["global", "micro_batch"] = "global"
    """Tokens that the mean is taken over: the generation batch of all ranks by the policy that generated, or one
    micro-batch of one rank by the current one."""
    as_released: bool = False
    """The released code: one micro-batch, and a nucleus without the token that reaches its mass."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if not 0.0 <= self.quantile < 1.0:
            raise ValueError(f"quantile must be in [0, 1), got {self.quantile}")
        if self.anchor is not None and not 0.0 <= self.anchor < math.inf:
            raise ValueError(f"anchor must be 0 or positive, got {self.anchor}")
        if self.as_released:
            object.__setattr__(self, "scope", "micro_batch")

    @classmethod
    def neutral(cls) -> "Siren":
        return cls(weight=0.0)

    @property
    def statistic(self) -> Statistic:
        """The entropy that is regularised."""
        name = "open_nucleus_entropy" if self.as_released else "nucleus_entropy"
        return Statistic(name, self.top_p)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"statistics"} | ({"old_statistics"} if self.old_statistics else set()))

    @property
    def statistics(self) -> frozenset[Statistic]:
        return frozenset({self.statistic})

    @property
    def old_statistics(self) -> frozenset[Statistic]:
        measured = self.scope == "global" or self.anchor is None
        return frozenset({self.statistic} if measured else ())

    def build(self) -> "SirenStages":
        return SirenStages(self)

    def selected(
        self, entropy: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
    ) -> Bool[Tensor, "b t"]:
        """Tokens above the quantile of their completion."""
        entropy = fill(entropy.detach(), mask)
        return mask & (entropy > row_quantile(entropy, mask, self.quantile))

    def means(
        self, entropy: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum over completions of their mean entropy where it is selected, and their number."""
        selected = self.selected(entropy, mask)
        kept = selected.sum(dim=1)
        per_row = fill(entropy.detach(), selected).sum(dim=1) / kept.clamp(min=1)
        # The released code counts completions of which nothing is selected, as 0.
        number = torch.ones_like(kept) if self.as_released else (kept > 0).long()
        return per_row.sum(), number.sum().to(per_row.dtype)


class SirenStages:
    """The anchor, which a checkpoint holds, and the distance of the generation batch from it."""

    def __init__(self, config: Siren) -> None:
        self._config = config
        self._anchor = config.anchor
        self._distance: float | None = None

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """Measure the batch; an evaluation's says nothing about the training."""
        config = self._config
        if not config.old_statistics or not rollouts.train:
            return advantage, {}
        entropy = rollouts.old_statistics[config.statistic]
        sums = torch.stack(config.means(entropy, rollouts.mask)).double()
        total, number = rollouts.reduce.sum(sums).tolist()
        if number == 0:
            self._distance = 0.0
            return advantage, {}
        mean = total / number
        if self._anchor is None:
            self._anchor = mean
        self._distance = mean - self._anchor
        return advantage, {}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        config = self._config
        entropy = fill(tokens.statistics[config.statistic], tokens.mask)
        selected = config.selected(entropy, tokens.mask)
        distance = self._distance_of(entropy, tokens)
        kept = selected.sum(dim=1, keepdim=True)
        scale = tokens.mask.sum(dim=1, keepdim=True) / kept.clamp(min=1)
        chosen = fill(entropy, selected)
        if config.weight != 0.0:
            penalty = 2 * config.weight * distance * scale * chosen
            signal = replace(signal, penalty=signal.penalty + penalty)
        return signal, {
            "entropy": Mean(chosen.detach().sum(), selected.sum()),
            "selected": Mean(selected.sum(), tokens.mask.sum()),
            "loss": Mean(config.weight * distance**2, 1),
            "anchor": Mean(self._anchor or 0.0, self._anchor is not None),
        }

    def _distance_of(self, entropy: Tensor, tokens: Tokens) -> float | Tensor:
        if self._config.scope == "global":
            return 0.0 if self._distance is None else self._distance
        if self._anchor is None:
            return 0.0
        total, number = self._config.means(entropy, tokens.mask)
        return torch.where(number > 0, total / number.clamp(min=1) - self._anchor, 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"anchor": self._anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._anchor = state["anchor"]
