"""An entropy bonus whose weight holds entropy above a target.

He et al., "Skywork Open Reasoner 1 Technical Report", arXiv 2505.22312 (adaptive entropy control). With ``e_k`` the
mean entropy of step ``k`` (nats)::

    applied in step k + 1:   c_{k+1} where e_k <= target, and 0 elsewhere
    c_{k+1} = clamp( c_k + delta where e_k < target, c_k - delta where e_k > target )
    target 0.2, delta 1e-4, c in [0, 0.005], c_0 = 0; the first step applies c_0

so the bonus works only while entropy is low, and grows for as long as it is. The bonus itself is ``entropy_bonus``.
Here ``e_k`` is the mean over all tokens of the optimiser step and of all ranks, under the current policy.

The report was not read. Two released codes were, and they differ from this and from each other in what they measure,
in what an entropy at the target does, and in what they average the bonus over. ``as_released`` names one of them:

* ``skywork`` measures once for each generation batch: the mean surprisal ``-log pi_old`` of its sampled tokens, which
  for tokens sampled from the whole distribution has the same expectation as their entropy, and more noise. At the
  target the weight falls and the bonus rests. Over ranks the code takes the mean of the ranks' means; here it is that
  of all tokens.
* ``trl`` measures the optimiser step's tokens that learn, and raises the entropy of those, averaged over those of
  the micro-batch. At the target the weight grows and the bonus works. The first step has no bonus, and a step
  without such tokens measures 0. TRL's average does not depend on the loss type; here it is exact with
  ``trainer.loss_type: bnpo``, and another loss type weighs completions or micro-batches as it does everything.

Targets and weights are options under each of them. The defaults are Skywork's; TRL's are a delta of 0.005 and a largest
weight of 1. Weight and last measurement are part of a checkpoint. Recipe::

    interventions:
      - adaptive_entropy: {target: 0.2}

TRL's::

    interventions:
      - adaptive_entropy: {as_released: trl, delta: 0.005, largest: 1.0}
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.entropy_bonus import Acted, acted_on, with_bonus
from rlent.interventions.stages import Intervention, Mean, Metrics, StepStatistics
from rlent.numerics import fill
from rlent.reduce import LOCAL, Reduce
from rlent.types import Rollouts, Signal, Tokens

Released = Literal["skywork", "trl"]


@dataclass(frozen=True, kw_only=True)
class AdaptiveEntropy(Intervention):
    """Reward entropy while it is below a target, with a weight that grows as long as it stays there."""

    name: ClassVar[str] = "adaptive_entropy"
    paper: ClassVar[str] = "Skywork-OR1, arXiv 2505.22312"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})
    reads: ClassVar[frozenset[str]] = frozenset({"select"})
    in_place_of: ClassVar[frozenset[str]] = frozenset({"use_adaptive_entropy"})

    target: float = 0.2
    """Mean entropy that is defended, nats."""
    delta: float = 1e-4
    """By which the weight moves after every measurement, loss per nat."""
    smallest: float = 0.0
    """Lower bound of the weight."""
    largest: float = 0.005
    """Upper bound of the weight."""
    initial: float = 0.0
    """Weight before the first measurement."""
    tokens: Acted = "all"
    """Tokens whose entropy is raised: all, or those that learn. Only ``as_released: trl`` averages over the latter."""
    as_released: Released | None = None
    """Skywork's code or TRL's: what they measure and average over, and do at the target; null is neither."""

    def __post_init__(self) -> None:
        for name in ("target", "delta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        if not 0.0 <= self.smallest <= self.initial <= self.largest < math.inf:
            raise ValueError(
                "smallest, initial and largest must be in order and not negative, got "
                f"{self.smallest}, {self.initial} and {self.largest}"
            )
        if self.as_released == "skywork" and self.tokens == "selected":
            raise ValueError(
                "as_released: skywork means tokens: all, but tokens: selected is set too; remove one of the two"
            )
        if self.as_released == "trl":
            object.__setattr__(self, "tokens", "selected")

    @classmethod
    def neutral(cls) -> "AdaptiveEntropy":
        return cls(largest=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(
            {"entropy_grad"} | ({"old_logp"} if self.as_released == "skywork" else set())
        )

    def is_low(self, entropy: float | None) -> bool:
        """Whether the bonus works after this measurement, or before the first one."""
        if entropy is None:
            return self.as_released != "trl"
        return entropy < self.target if self.as_released == "skywork" else entropy <= self.target

    def moved(self, weight: float, entropy: float) -> float:
        """The weight after this measurement."""
        change = (entropy < self.target) - (entropy > self.target)
        if self.as_released is not None:
            change = 1 if self.is_low(entropy) else -1
        return min(max(weight + change * self.delta, self.smallest), self.largest)

    def build(self) -> "AdaptiveEntropyStages":
        stages = {"skywork": SkyworkStages, "trl": TRLStages, None: StepStages}
        return stages[self.as_released](self)


class AdaptiveEntropyStages:
    """The controller: its weight, and what it measured last."""

    def __init__(self, config: AdaptiveEntropy) -> None:
        self._config = config
        self._weight = config.initial
        self._entropy: float | None = None

    @property
    def low(self) -> bool:
        """Whether entropy was low when it was measured last."""
        return self._config.is_low(self._entropy)

    @property
    def applied(self) -> float:
        """Weight of the bonus at present."""
        return self._weight if self.low else 0.0

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        chosen = acted_on(tokens, signal, self._config.tokens)
        raised = self._averaged(tokens, chosen)
        return with_bonus(raised, signal, chosen, self.applied), {
            "weight": self.applied,
            "entropy": Mean(fill(tokens.entropy.detach(), chosen).sum(), chosen.sum()),
        }

    def _averaged(self, tokens: Tokens, chosen: Bool[Tensor, "b t"]) -> Tokens:
        """The tokens, with entropies whose sum over the chosen ones the loss type divides by the right number."""
        return tokens

    def _measured(self, entropy: float) -> None:
        self._weight = self._config.moved(self._weight, entropy)
        self._entropy = entropy

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self._weight, "entropy": self._entropy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weight, self._entropy = state["weight"], state["entropy"]


class StepStages(AdaptiveEntropyStages):
    """Measures all tokens of an optimiser step."""

    def on_step(self, statistics: StepStatistics) -> None:
        self._measured(statistics.entropy)


class TRLStages(AdaptiveEntropyStages):
    """Measures the tokens of an optimiser step that learn."""

    def __init__(self, config: AdaptiveEntropy) -> None:
        super().__init__(config)
        self._sums: Tensor | None = None
        self._reduce: Reduce = LOCAL

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        if tokens.train:
            chosen = acted_on(tokens, signal, self._config.tokens)
            sums = _sum_and_count(tokens.entropy, chosen)
            self._sums = sums if self._sums is None else self._sums + sums
            self._reduce = tokens.reduce
        return super().on_tokens(tokens, signal)

    def on_step(self, statistics: StepStatistics) -> None:
        assert self._sums is not None
        total, count = self._reduce.sum(self._sums).tolist()
        self._sums = None
        self._measured(total / max(count, 1))

    def _averaged(self, tokens: Tokens, chosen: Bool[Tensor, "b t"]) -> Tokens:
        return replace(
            tokens, entropy=tokens.entropy * tokens.mask.sum() / chosen.sum().clamp(min=1)
        )


class SkyworkStages(AdaptiveEntropyStages):
    """Measures the surprisal of a generation batch, which the bonus of the next one depends on."""

    def __init__(self, config: AdaptiveEntropy) -> None:
        super().__init__(config)
        self._applied = config.initial

    @property
    def applied(self) -> float:
        return self._applied

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        """Measure the batch; an evaluation's says nothing about the training."""
        if not rollouts.train:
            return advantage, {}
        assert rollouts.old_logp is not None
        sums = rollouts.reduce.sum(_sum_and_count(-rollouts.old_logp, rollouts.mask))
        total, count = sums.tolist()
        self._applied = super().applied
        if count > 0:
            self._measured(total / count)
        return advantage, {}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "applied": self._applied}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._applied = state["applied"]


def _sum_and_count(values: Float[Tensor, "*s"], mask: Bool[Tensor, "*s"]) -> Float[Tensor, " 2"]:
    values = fill(values.detach(), mask).double()
    return torch.stack([values.sum(), mask.sum().to(values.dtype)])
