"""An entropy bonus whose weight holds entropy above a target.

He et al., "Skywork Open Reasoner 1 Technical Report", arXiv 2505.22312 (adaptive entropy control). With ``e_k`` the
mean entropy of step ``k`` (nats)::

    applied in step k + 1:   c_{k+1} where e_k <= target, and 0 elsewhere
    c_{k+1} = clamp( c_k + delta where e_k < target, c_k - delta where e_k > target )
    target 0.2, delta 1e-4, c in [0, 0.005], c_0 = 0; the first step applies c_0

so the bonus works only while entropy is low, and grows for as long as it is. The bonus itself is ``entropy_bonus``.

The rule and its order in time were checked against the released code and against TRL's port (``rlent conformance``);
the report was not read. They differ in what they measure, and in the numbers:

* Here ``e_k`` is the mean over all tokens of the optimiser step and of all ranks, under the current policy. TRL's is
  that of the tokens that learn. Skywork's is the mean surprisal ``-log pi_old`` of a rollout batch's sampled tokens,
  which has the same expectation for tokens sampled from the whole distribution, and more noise.
* TRL has delta 0.005 and a largest weight of 1, and also raises the weight where ``e_k`` equals the target. The
  defaults are Skywork's.

Weight and last measurement are part of a checkpoint. Recipe::

    interventions:
      - adaptive_entropy: {target: 0.2}
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from rlent.interventions.entropy_bonus import Acted, acted_on, with_bonus
from rlent.interventions.stages import Intervention, Mean, Metrics, StepStatistics
from rlent.numerics import fill
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class AdaptiveEntropy(Intervention):
    """Reward entropy while it is below a target, with a weight that grows as long as it stays there."""

    name: ClassVar[str] = "adaptive_entropy"
    paper: ClassVar[str] = "Skywork-OR1, arXiv 2505.22312"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})
    reads: ClassVar[frozenset[str]] = frozenset({"select"})

    target: float = 0.2
    """Mean entropy that is defended, nats."""
    delta: float = 1e-4
    """By which the weight moves after every optimiser step, loss per nat."""
    smallest: float = 0.0
    """Lower bound of the weight."""
    largest: float = 0.005
    """Upper bound of the weight."""
    initial: float = 0.0
    """Weight of the first step."""
    tokens: Acted = "all"
    """Tokens whose entropy is raised: all, or those that learn. The average is over all either way."""

    def __post_init__(self) -> None:
        for name in ("target", "delta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        if not 0.0 <= self.smallest <= self.initial <= self.largest < math.inf:
            raise ValueError(
                "smallest, initial and largest must be in order and not negative, got "
                f"{self.smallest}, {self.initial} and {self.largest}"
            )

    @classmethod
    def neutral(cls) -> "AdaptiveEntropy":
        return cls(largest=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy_grad"})

    def build(self) -> "AdaptiveEntropyStages":
        return AdaptiveEntropyStages(self)


class AdaptiveEntropyStages:
    """The controller: its weight, and whether entropy was low in the last step."""

    def __init__(self, config: AdaptiveEntropy) -> None:
        self._config = config
        self._weight = config.initial
        self._low = True

    @property
    def applied(self) -> float:
        """Weight of the bonus in the next step."""
        return self._weight if self._low else 0.0

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        chosen = acted_on(tokens, signal, self._config.tokens)
        return with_bonus(tokens, signal, chosen, self.applied), {
            "weight": self.applied,
            "entropy": Mean(fill(tokens.entropy.detach(), chosen).sum(), chosen.sum()),
        }

    def on_step(self, statistics: StepStatistics) -> None:
        config, entropy = self._config, statistics.entropy
        change = (entropy < config.target) - (entropy > config.target)
        moved = self._weight + change * config.delta
        self._weight = min(max(moved, config.smallest), config.largest)
        self._low = entropy <= config.target

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self._weight, "low": self._low}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weight, self._low = state["weight"], state["low"]
