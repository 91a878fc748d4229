"""Temperature per token from the entropy, after HAPO.

HAPO (starriver030515/HAPO; the paper was not read)::

    T_t = T * (1 + tau * h_t)

``h_t`` in [-1, 1] is the standardised logarithm of the token's entropy. Its statistics are those of all tokens of the
generation batch before: ``c`` the ``pivot`` quantile of ``log H`` (the nearest order statistic), ``s`` the root of the
mean square of ``log H - c``, and the largest and smallest ``(log H - c) / s``::

    z_t = (log H_t - c) / s
    h_t = z_t / max z   where z_t > 0,   z_t / |min z|   elsewhere,   cut off at -1 and 1

so that tokens of high entropy are drawn hotter and those of low entropy colder. The first batch is drawn at ``T``.

The release divides by ``min z`` itself, which is negative: there ``h_t`` is never below 0, and tokens of low entropy
are drawn hotter as well. ``as_released: true`` does that. The release takes ``H_t`` of the raw logits and the
statistics at the training temperature; here both are at the sampling temperature, which is the same at its temperature
of 1. Its statistics are of the completions that it trains on, here of all that were generated. HAPO's clip ranges and
advantages are not part of this rule.

What is noted, and is the ratio's denominator in training, is the policy at ``trainer.temperature``, whatever the token
was drawn at.

Recipe::

    rollout: {decoding: {entropy_temperature: {tau: 0.05}}}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.numerics import top_count
from rlent.reduce import LOCAL, Reduce
from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.sampling import Step, keep

_SMALLEST = 1e-8
"""Floor of entropies, variances and ranges, as in the release."""


@dataclass(frozen=True, kw_only=True)
class EntropyTemperature(DecodingRule):
    """Hotter where the entropy is high, colder where it is low."""

    name: ClassVar[str] = "entropy_temperature"
    paper: ClassVar[str] = "HAPO, released code (starriver030515/HAPO)"
    evaluates: ClassVar[bool] = False
    remembers: ClassVar[bool] = True

    tau: float = 0.05
    """Largest relative change of the temperature, in [0, 1); 0 changes nothing."""
    pivot: float = 0.8
    """Quantile of the entropies at which the temperature is that of the trainer, in [0, 1]."""
    as_released: bool = False
    """Hotter on both sides of the pivot."""

    def __post_init__(self) -> None:
        if not 0 <= self.tau < 1:
            raise ValueError(f"tau must be in [0, 1), got {self.tau:g}")
        if not 0 <= self.pivot <= 1:
            raise ValueError(f"pivot must be in [0, 1], got {self.pivot:g}")

    def build(self) -> "Temperatures":
        return Temperatures(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntropies:
    """Statistics of ``log H`` over a generation batch of all ranks."""

    centre: float
    scale: float
    highest: float
    """Of ``(log H - centre) / scale``, more than 0."""
    lowest: float
    """Of the same, less than 0."""

    @classmethod
    def of(
        cls, entropies: Float[Tensor, " n"], pivot: float, reduce: Reduce = LOCAL
    ) -> "LogEntropies | None":
        """Those of a batch; None if no rank has a token."""
        logs = _log(entropies.double())
        everything = torch.ones_like(logs, dtype=torch.bool)
        count = int(reduce.sum(everything.sum()))
        if count == 0:
            return None
        above = torch.tensor(count - round(pivot * (count - 1)), device=logs.device)
        chosen = top_count(logs, everything, above, reduce)
        centre = float(reduce.min(_least(logs[chosen])))
        distance = logs - centre
        variance = float(reduce.sum(distance.square().sum())) / count
        scale = max(variance, _SMALLEST) ** 0.5
        return cls(
            centre=centre,
            scale=scale,
            highest=max(float(-reduce.min(_least(-distance / scale))), _SMALLEST),
            lowest=min(float(reduce.min(_least(distance / scale))), -_SMALLEST),
        )


class Temperatures(DecodingRule):
    """The rule with the statistics of the last batch."""

    name, paper = EntropyTemperature.name, EntropyTemperature.paper
    remembers = True

    def __init__(self, config: EntropyTemperature) -> None:
        self._config = config
        self.statistics: LogEntropies | None = None

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        temperature = step.sampling.temperature * (
            1 + self._config.tau * self.height(step.entropies)
        )
        return keep(step.scores / temperature.unsqueeze(1), step.sampling).log_softmax(-1)

    def height(self, entropies: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """``h_t``; 0 before the first batch."""
        known = self.statistics
        if known is None:
            return torch.zeros_like(entropies)
        standard = (_log(entropies) - known.centre) / known.scale
        below = known.lowest if self._config.as_released else -known.lowest
        return torch.where(standard > 0, standard / known.highest, standard / below).clamp(-1, 1)

    def observe(self, entropies: Float[Tensor, " n"], reduce: Reduce) -> None:
        found = LogEntropies.of(entropies, self._config.pivot, reduce)
        self.statistics = self.statistics if found is None else found

    def state_dict(self) -> dict[str, Any]:
        return {} if self.statistics is None else asdict(self.statistics)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.statistics = LogEntropies(**state) if state else None


def _log(entropies: Tensor) -> Tensor:
    return entropies.clamp(min=_SMALLEST).log()


def _least(values: Tensor) -> Tensor:
    return values.min() if len(values) else values.new_tensor(torch.inf)
