"""An entropy bonus on the likelier part of the vocabulary, with a coefficient that keeps it in a range.

Shen, "On Entropy Control in LLM-RL Algorithms" (AEnt), arXiv 2509.03493::

    H_t   = entropy of the policy without the floor(p V) least probable of the V tokens, normalised there (nats)
    L     = L_policy - c_k sum_t H_t / N
    c_k+1 = clamp( c_k - s (min(0, e_k - low) + max(0, e_k - high) + r (c_k - c_0)) )

with ``e_k`` the mean of ``H_t`` over the tokens of step ``k``: the coefficient grows by ``s`` times what the entropy
lacks to the range ``[low, high]``, and shrinks by as much as it exceeds it.

Of the code only its front page was read, which holds both formulas; of the paper, second-hand accounts. The front page
has ``p`` 0.3 and ``c`` 0.0002, constant unless a range is given; it gives none, says that the range is what results
depend on, and leaves ``s`` open. The default of ``s`` is that of AEnt's port to another framework, AReaL (range 0.1 to
0.5, ``c`` 0.001 in [1e-5, 0.01], ``p`` 0.2). Here ``e_k`` is over all ranks, and the bonus is averaged as the loss type
does.

The coefficient is part of a checkpoint. Recipe::

    interventions:
      - aent: {low: 0.1, high: 0.5}
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions.stages import Intervention, Mean, Metrics, StepStatistics
from rlent.numerics import fill
from rlent.reduce import LOCAL, Reduce
from rlent.types import Signal, Tokens

_OF_THE_CONTROLLER = ("rate", "smallest", "largest", "pull", "warmup")


@dataclass(frozen=True, kw_only=True)
class AEnt(Intervention):
    """Reward the entropy of the likelier part of the vocabulary, more while it is below a range and less above."""

    name: ClassVar[str] = "aent"
    paper: ClassVar[str] = "On Entropy Control (AEnt), arXiv 2509.03493"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})

    weight: float = 0.0002
    """Loss per nat, in the first step (c_0) or always."""
    drop: float = 0.3
    """Share of the vocabulary that is left out, the least probable tokens, in [0, 1) (p)."""
    low: float | None = None
    """Mean entropy below which the coefficient grows, nats; null for a constant coefficient."""
    high: float | None = None
    """Mean entropy above which the coefficient shrinks, nats; null for a constant coefficient."""
    rate: float = 0.001
    """Change of the coefficient after a step for every nat outside the range (s)."""
    smallest: float = 0.00004
    """Lower bound of the coefficient."""
    largest: float = 0.1
    """Upper bound of the coefficient."""
    pull: float = 0.0
    """Strength with which the coefficient is drawn to its first value (r)."""
    warmup: int = 0
    """The coefficient moves from the end of this step on, counted from 1."""

    def __post_init__(self) -> None:
        for name in ("weight", "rate", "pull", "warmup"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        if not 0.0 <= self.drop < 1.0:
            raise ValueError(f"drop must be in [0, 1), got {self.drop}")
        if self.low is None and self.high is None:
            self._refuse_a_controller()
        elif self.low is None or self.high is None or not 0.0 <= self.low <= self.high < math.inf:
            raise ValueError(
                f"low and high must be in order and not negative, or both null, got {self.low} and {self.high}"
            )
        elif not 0.0 <= self.smallest <= self.weight <= self.largest < math.inf:
            raise ValueError(
                "smallest, weight and largest must be in order and not negative, got "
                f"{self.smallest}, {self.weight} and {self.largest}"
            )

    def _refuse_a_controller(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name in _OF_THE_CONTROLLER:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name} moves a coefficient that is constant without low and high; set both, or remove it"
                )

    @classmethod
    def neutral(cls) -> "AEnt":
        return cls(weight=0.0)

    @property
    def statistic(self) -> Statistic:
        """The entropy that is rewarded."""
        return Statistic("clamped_entropy", self.drop)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"statistics"})

    @property
    def statistics(self) -> frozenset[Statistic]:
        return frozenset({self.statistic})

    def build(self) -> "AEntStages":
        return AEntStages(self)


class AEntStages:
    """The controller: its coefficient, and the entropies of the step so far."""

    def __init__(self, config: AEnt) -> None:
        self._config = config
        self._weight = config.weight
        self._sums: Tensor | None = None
        self._reduce: Reduce = LOCAL

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        entropy = fill(tokens.statistics[self._config.statistic], tokens.mask)
        sums = torch.stack([entropy.detach().sum().double(), tokens.mask.sum().double()])
        if tokens.train:
            self._sums = sums if self._sums is None else self._sums + sums
            self._reduce = tokens.reduce
        metrics = {"weight": self._weight, "entropy": Mean(sums[0], sums[1])}
        if self._weight != 0.0:
            signal = replace(signal, penalty=signal.penalty - self._weight * entropy)
        return signal, metrics

    def on_step(self, statistics: StepStatistics) -> None:
        config = self._config
        assert self._sums is not None
        total, count = self._reduce.sum(self._sums).tolist()
        self._sums = None
        if config.low is None or config.high is None or count == 0:
            return
        if statistics.step + 1 < config.warmup:
            return
        entropy = total / count
        outside = min(0.0, entropy - config.low) + max(0.0, entropy - config.high)
        moved = self._weight - config.rate * (
            outside + config.pull * (self._weight - config.weight)
        )
        self._weight = min(max(moved, config.smallest), config.largest)

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self._weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weight = state["weight"]
