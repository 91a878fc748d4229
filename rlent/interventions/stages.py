"""The contract of an intervention: its stages, what it needs, and what it may touch.

An intervention is a frozen config dataclass that derives from ``Intervention`` and implements only the stages it uses:

=================  ==============================  =================================  =====================
stage              called                          sees                               returns
=================  ==============================  =================================  =====================
``on_rewards``     once per generation batch       Rollouts                           reward [n]
``on_advantages``  once per generation batch       Rollouts, advantage [n t]          advantage [n t]
``on_select``      once per generation batch       Rollouts, Selection                Selection
``on_tokens``      every micro-batch, with grad    Tokens, Signal                     Signal
``on_step``        once per optimiser step         StepStatistics                     nothing
=================  ==============================  =================================  =====================

The first four return ``(value, metrics)``. Metrics are named without the intervention's name, which ``chain`` puts in
front. A metric is a finite number that every rank agrees on, or a ``Mean`` whose parts are summed over micro-batches
and ranks; every rank must emit the same names each time.

An intervention that carries state between steps implements ``build()``, which returns a fresh object with the same
stages and with ``state_dict`` and ``load_state_dict``; everything else is its own state-free object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from rlent.types import Rollouts, Selection, Signal, Tokens

STAGES = ("on_rewards", "on_advantages", "on_select", "on_tokens", "on_step")

NEEDS: dict[str, str] = {
    "entropy": "the entropy of every token under the current policy",
    "entropy_grad": "the entropy of every token with its gradient",
    "old_entropy": "the entropy of every token under the policy that generated it",
    "old_logp": "the log-probability of every token under the policy that generated it",
    "ref_logp": "the log-probability of every token under the reference policy",
    "whole_groups": "all completions of a prompt on one rank",
    "several_updates": "more than one optimiser step per generation batch",
    "micro_batch_denominator": "a loss whose denominator is known inside each micro-batch",
}
"""Everything an intervention may ask of the trainer, and what it means."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A metric that is ``total / count`` after both were summed over micro-batches and ranks."""

    total: Tensor
    count: Tensor


Metrics = Mapping[str, Mean | Tensor | float]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepStatistics:
    """What a controller sees at the end of an optimiser step; the same numbers on every rank."""

    step: int
    tokens: float
    entropy: float
    """Mean over all tokens of the step, nats."""
    selected: float
    """Share of tokens that received policy gradient, in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """Base of every intervention's config. It holds no behaviour: a missing stage is the identity."""

    name: ClassVar[str]
    """The name in recipes, metrics and the table."""
    paper: ClassVar[str]
    """Title and arXiv number."""
    writes: ClassVar[frozenset[str]]
    """Fields of the records that it changes: ``reward`` or names of ``Signal`` fields."""
    overwrites: ClassVar[frozenset[str]] = frozenset()
    """Those of them that it replaces without regard to their earlier value."""

    @property
    def needs(self) -> frozenset[str]:
        """Names out of ``NEEDS``, as this configuration requires them."""
        return frozenset()

    @classmethod
    def neutral(cls) -> "Intervention":
        """Settings under which the intervention changes nothing; one of the laws tests it."""
        raise NotImplementedError(f"{cls.__name__} must say which settings change nothing")


@runtime_checkable
class OnRewards(Protocol):
    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]: ...


@runtime_checkable
class OnAdvantages(Protocol):
    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]: ...


@runtime_checkable
class OnSelect(Protocol):
    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]: ...


@runtime_checkable
class OnTokens(Protocol):
    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]: ...


@runtime_checkable
class OnStep(Protocol):
    def on_step(self, statistics: StepStatistics) -> None: ...


@runtime_checkable
class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Buildable(Protocol):
    def build(self) -> object: ...


def implemented_stages(intervention: object) -> tuple[str, ...]:
    """The stages that an intervention, or its class, implements, in the order they run."""
    return tuple(stage for stage in STAGES if hasattr(intervention, stage))
