"""The contract of an intervention: its stages, what it needs, and what it may touch.

An intervention is a frozen config dataclass that derives from ``Intervention`` and implements only the stages it uses:

=================  ==============================  =================================  =====================
stage              called                          sees                               returns
=================  ==============================  =================================  =====================
``on_rewards``     once per generation batch       Rollouts                           reward [n]
``on_filter``      once per generation batch       Rollouts, keep [n]                 keep [n]
``on_advantages``  once per generation batch       Rollouts, advantage [n t]          advantage [n t]
``on_select``      once per generation batch       Rollouts, Selection                Selection
``on_tokens``      every micro-batch, with grad    Tokens, Signal                     Signal
``on_step``        once per optimiser step         StepStatistics                     nothing
=================  ==============================  =================================  =====================

All but the last return ``(value, metrics)``. Metrics are named without the intervention's name, which ``chain`` puts in
front. A metric is a finite number that every rank agrees on, or a ``Mean`` whose parts are summed over micro-batches
and ranks; every rank must emit the same names each time.

Completions that ``on_filter`` gives up take no part in anything that follows: their advantages are not part of the
group's statistics and their mask is false. Where all of a group are given up and ``resample_rounds`` is positive, the
trainer generates from other prompts in its place.

An intervention that carries state between steps implements ``build()``, which returns a fresh object with the same
stages and with ``state_dict`` and ``load_state_dict``; everything else is its own state-free object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.types import Rollouts, Selection, Signal, Tokens

STAGES = ("on_rewards", "on_filter", "on_advantages", "on_select", "on_tokens", "on_step")

NEEDS: dict[str, str] = {
    "entropy": "the entropy of every token under the current policy",
    "entropy_grad": "the entropy of every token with its gradient",
    "old_entropy": "the entropy of every token under the policy that generated it",
    "old_logp": "the log-probability of every token under the policy that generated it",
    "ref_logp": "the log-probability of every token under the reference policy",
    "ref_kl": "the exact KL divergence of the current from the reference policy at every selected token",
    "statistics": "statistics of the current policy's distribution at every token",
    "old_statistics": "statistics of the distribution that every token was sampled from",
    "texts": "the text of every completion",
    "budgets": "summaries of every thinking trace at token budgets",
    "vocabulary": "the text of every token of the vocabulary",
    "prompts": "the tokens of every prompt",
    "prompt_logp": "the log-probability of every prompt token under the current policy, with its gradient",
    "token_clipping": "the clipped surrogate, with one ratio for each token",
    "plain_clipping": "the clipped surrogate, with one ratio for each token and no dual clip",
    "whole_groups": "all completions of a prompt on one rank",
    "several_updates": "more than one optimiser step per generation batch",
    "two_passes": "two passes over every generation batch, each of whole optimiser steps",
    "micro_batch_denominator": "a loss whose denominator is known inside each micro-batch",
}
"""Everything an intervention may ask of the trainer, and what it means."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A metric that is ``total / count`` after both were summed over micro-batches and ranks."""

    total: Tensor | float | int
    count: Tensor | float | int


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
    reads: ClassVar[frozenset[str]] = frozenset()
    """Fields of ``Signal`` that it looks at without changing them: who changes them must be listed before it."""
    in_place_of: ClassVar[frozenset[str]] = frozenset()
    """TRL's options of the same effect, which are refused and name it as the remedy."""

    @property
    def needs(self) -> frozenset[str]:
        """Names out of ``NEEDS``, as this configuration requires them."""
        return frozenset()

    @property
    def statistics(self) -> frozenset[Statistic]:
        """What it reads of ``Tokens.statistics``; if anything, "statistics" is among its needs."""
        return frozenset()

    @property
    def old_statistics(self) -> frozenset[Statistic]:
        """What it reads of ``old_statistics``; if anything, "old_statistics" is among its needs."""
        return frozenset()

    @property
    def resample_rounds(self) -> int:
        """How often other prompts may be generated from in place of groups that ``on_filter`` gave up."""
        return 0

    @property
    def smallest_group(self) -> int:
        """Completions that every prompt must have at least."""
        return 1

    @property
    def named_rewards(self) -> frozenset[str]:
        """Names of reward functions that this configuration speaks of."""
        return frozenset()

    @classmethod
    def neutral(cls) -> "Intervention":
        """Settings under which the intervention changes nothing; one of the laws tests it."""
        raise NotImplementedError(f"{cls.__name__} must say which settings change nothing")


@runtime_checkable
class OnRewards(Protocol):
    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]: ...


@runtime_checkable
class OnFilter(Protocol):
    def on_filter(
        self, rollouts: Rollouts, keep: Bool[Tensor, " n"]
    ) -> tuple[Bool[Tensor, " n"], Metrics]: ...


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


def built(config: Intervention) -> object:
    """The object that runs an intervention's stages: fresh where it carries state, else the configuration itself."""
    return config.build() if isinstance(config, Buildable) else config


def implemented_stages(config: Intervention) -> tuple[str, ...]:
    """The stages that an intervention implements, in the order they run."""
    stages = built(config)
    return tuple(stage for stage in STAGES if hasattr(stages, stage))
