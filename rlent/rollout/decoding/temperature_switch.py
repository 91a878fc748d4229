"""One of two temperatures for a whole generation batch, from the entropy of the one before.

After the temperature controller of SCOPE-RL, earlier "Arbitrary Entropy Policy Optimization" (arXiv 2510.08141; read
were the released trainer, 597358816/AEPO, and accounts of the paper)::

    T = high   if H <= target,   low   otherwise

with ``H`` the mean entropy over all tokens of the batch before, of all ranks; before the first it is 0, as in the
release. There ``H`` is the actor's while it trains; here it is what was noted while the batch was generated, at
``trainer.temperature``.

The release draws a second batch at ``T`` beside the one at temperature 1, and takes up to 60 completions with positive
advantage from it as a REINFORCE term. That term is not here: this rule draws the one batch there is at ``T``. What is
noted, and is the ratio's denominator, is the policy at ``trainer.temperature``.

Recipe::

    rollout: {decoding: {temperature_switch: {target: 0.5}}}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.reduce import Reduce
from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.sampling import Step, keep


@dataclass(frozen=True, kw_only=True)
class TemperatureSwitch(DecodingRule):
    """Hot while the entropy is at most the target, cold above it."""

    name: ClassVar[str] = "temperature_switch"
    paper: ClassVar[str] = "SCOPE-RL (AEPO), arXiv 2510.08141, the temperature alone"
    evaluates: ClassVar[bool] = False
    remembers: ClassVar[bool] = True

    target: float = 0.5
    """Entropy in nats up to which the temperature is high."""
    high: float = 1.2
    """Temperature at or below the target."""
    low: float = 0.8
    """Temperature above it."""

    def __post_init__(self) -> None:
        if self.target < 0:
            raise ValueError(f"target must not be negative, got {self.target:g}")
        for name in ("high", "low"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name):g}")
        if self.low > self.high:
            raise ValueError(f"low must not be above high, {self.high:g}, got {self.low:g}")

    def build(self) -> "Switch":
        return Switch(self)


class Switch(DecodingRule):
    """The rule with the entropy of the last batch."""

    name, paper = TemperatureSwitch.name, TemperatureSwitch.paper
    remembers = True

    def __init__(self, config: TemperatureSwitch) -> None:
        self._config = config
        self.entropy = 0.0

    @property
    def temperature(self) -> float:
        """Of the next batch."""
        config = self._config
        return config.high if self.entropy <= config.target else config.low

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        return keep(step.scores / self.temperature, step.sampling).log_softmax(-1)

    def observe(self, entropies: Float[Tensor, " n"], reduce: Reduce) -> None:
        values = entropies.double()
        total, count = reduce.sum(values.sum()), reduce.sum(values.new_tensor(len(values)))
        self.entropy = float(total / count) if count else self.entropy

    def state_dict(self) -> dict[str, Any]:
        return {"entropy": self.entropy}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.entropy = state["entropy"]
