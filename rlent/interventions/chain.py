"""Interventions in the recipe's order, seen by the trainer as one.

``chain`` refuses combinations that would lose an effect; ``Chain`` runs the stages and puts the name of each
intervention in front of its metrics.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.distributions import Statistic
from rlent.errors import ConfigError
from rlent.interventions.stages import (
    Intervention,
    Metrics,
    OnAdvantages,
    OnFilter,
    OnRewards,
    OnSelect,
    OnStep,
    OnTokens,
    Stateful,
    StepStatistics,
    built,
)
from rlent.types import Rollouts, Selection, Signal, Tokens

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One intervention of the chain: its configuration and the object that runs its stages."""

    config: Intervention
    stages: object


@dataclass(frozen=True, slots=True)
class Chain:
    """Every stage of every intervention, in order. An empty chain is the identity."""

    links: tuple[Link, ...]

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(link.config.needs for link in self.links))

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Of the current policy's distributions, in an order that every rank agrees on."""
        return _in_order(link.config.statistics for link in self.links)

    @property
    def old_statistics(self) -> tuple[Statistic, ...]:
        """Of the generating policy's distributions, in such an order."""
        return _in_order(link.config.old_statistics for link in self.links)

    @property
    def resample_rounds(self) -> int:
        return max((link.config.resample_rounds for link in self.links), default=0)

    @property
    def reads_idle_rollouts(self) -> bool:
        """Whether a rollout without advantage changes a loss or a controller."""
        return self.has_stage(OnStep) or any(
            "penalty" in link.config.writes or link.config.reads for link in self.links
        )

    def on_rewards(self, rollouts: Rollouts) -> tuple[Float[Tensor, " n"], Metrics]:
        def stage(part: OnRewards, reward: Tensor) -> tuple[Tensor, Metrics]:
            return part.on_rewards(replace(rollouts, reward=reward))

        return self._run(OnRewards, stage, rollouts.reward)

    def on_filter(
        self, rollouts: Rollouts, keep: Bool[Tensor, " n"]
    ) -> tuple[Bool[Tensor, " n"], Metrics]:
        return self._run(OnFilter, lambda p, value: p.on_filter(rollouts, value), keep)

    def on_advantages(
        self, rollouts: Rollouts, advantage: Float[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t"], Metrics]:
        return self._run(OnAdvantages, lambda p, value: p.on_advantages(rollouts, value), advantage)

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        return self._run(OnSelect, lambda p, value: p.on_select(rollouts, value), selection)

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        return self._run(OnTokens, lambda p, value: p.on_tokens(tokens, value), signal)

    def on_step(self, statistics: StepStatistics) -> None:
        for link in self.links:
            if isinstance(link.stages, OnStep):
                link.stages.on_step(statistics)

    def has_stage(self, protocol: type) -> bool:
        return any(isinstance(link.stages, protocol) for link in self.links)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State of the stateful interventions, by name."""
        return {
            link.config.name: link.stages.state_dict()
            for link in self.links
            if isinstance(link.stages, Stateful)
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Restore what ``state_dict`` gave; the interventions must be the same.

        Raises:
            ConfigError: the checkpoint holds state of other interventions than the recipe lists.
        """
        stateful = {
            link.config.name: link.stages
            for link in self.links
            if isinstance(link.stages, Stateful)
        }
        if set(state) != set(stateful):
            raise ConfigError(
                "the checkpoint holds the state of other interventions",
                key="interventions",
                expected=", ".join(sorted(state)) or "none with state",
                given=", ".join(sorted(stateful)) or "none with state",
            )
        for name, stages in stateful.items():
            stages.load_state_dict(state[name])

    def _run(
        self, protocol: type, stage: Callable[[Any, Value], tuple[Value, Metrics]], value: Value
    ) -> tuple[Value, Metrics]:
        metrics: dict[str, Any] = {}
        for link in self.links:
            if isinstance(link.stages, protocol):
                value, part = stage(link.stages, value)
                metrics |= {f"{link.config.name}/{key}": metric for key, metric in part.items()}
        return value, metrics


def _in_order(asked: Iterable[frozenset[Statistic]]) -> tuple[Statistic, ...]:
    return tuple(sorted(frozenset[Statistic]().union(*asked), key=str))


def chain(configs: Sequence[Intervention]) -> Chain:
    """Put interventions in order.

    Raises:
        ConfigError: one is listed twice, or one replaces a field that an earlier one has written, or changes a field
            that an earlier one has read.
    """
    written: dict[str, str] = {}
    read: dict[str, str] = {}
    for position, config in enumerate(configs):
        key = f"interventions.{position}.{config.name}"
        if any(config.name == other.name for other in configs[:position]):
            raise ConfigError(
                "the intervention is listed twice", key=key, remedy="keep one of the two"
            )
        for field in sorted(config.overwrites & written.keys()):
            raise ConfigError(
                f"{config.name} replaces {field!r}, which {written[field]} has written before it",
                key=key,
                remedy=f"list {config.name} before {written[field]}, or keep one of the two",
            )
        for field in sorted(config.writes & read.keys()):
            raise ConfigError(
                f"{config.name} changes {field!r}, which {read[field]} has read before it",
                key=key,
                remedy=f"list {config.name} before {read[field]}",
            )
        written |= dict.fromkeys(config.writes, config.name)
        read |= dict.fromkeys(config.reads, config.name)
    return Chain(tuple(Link(config=config, stages=built(config)) for config in configs))
