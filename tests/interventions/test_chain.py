"""Order, refusals, state and metrics of a chain, on interventions made for the test."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

from rlent.errors import ConfigError
from rlent.interventions import Intervention, Metrics, StepStatistics, chain
from rlent.interventions.stages import OnStep, OnTokens
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_signal, make_tokens
from tests.laws.pipeline import run_chain


@dataclass(frozen=True, kw_only=True)
class Scale(Intervention):
    name: ClassVar[str] = "scale"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset({"weight"})
    factor: float = 2.0

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        return replace(signal, weight=signal.weight * self.factor), {"factor": self.factor}


@dataclass(frozen=True, kw_only=True)
class Replace(Intervention):
    name: ClassVar[str] = "replace"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset({"weight"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"weight"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        return replace(signal, weight=torch.full_like(signal.weight, 3.0)), {}


@dataclass(frozen=True, kw_only=True)
class Controller(Intervention):
    name: ClassVar[str] = "controller"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})

    def build(self) -> "Counter":
        return Counter()


class Counter:
    """Counts its steps and makes the penalty that number."""

    def __init__(self) -> None:
        self.steps = 0

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        return replace(signal, penalty=signal.penalty + self.steps), {"steps": float(self.steps)}

    def on_step(self, statistics: StepStatistics) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


STATISTICS = StepStatistics(step=1, tokens=10.0, entropy=0.5, selected=0.2)


def test_order_is_the_recipes() -> None:
    tokens = make_tokens()
    signal, metrics = run_chain(chain([Replace(), Scale()]), tokens)
    assert torch.equal(signal.weight, torch.full_like(signal.weight, 6.0))
    assert metrics == {"scale/factor": 2.0}


def test_replacing_what_was_written_before_is_refused() -> None:
    with pytest.raises(ConfigError, match="replaces 'weight', which scale has written") as raised:
        chain([Scale(), Replace()])
    assert raised.value.key == "interventions.1.replace"
    assert "list replace before scale" in str(raised.value)


def test_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="listed twice"):
        chain([Scale(), Scale(factor=3.0)])


def test_empty_chain_is_the_identity() -> None:
    tokens = make_tokens()
    signal = make_signal(tokens)
    after, metrics = run_chain(chain([]), tokens, signal=signal)
    assert metrics == {}
    assert torch.equal(after.weight, signal.weight)
    assert not chain([]).needs
    assert not chain([]).has_stage(OnTokens)


def test_state_moves_on_steps_and_survives_a_checkpoint() -> None:
    links = chain([Scale(), Controller()])
    assert links.has_stage(OnStep)
    for _ in range(3):
        links.on_step(STATISTICS)
    assert links.state_dict() == {"controller": {"steps": 3}}
    again = chain([Scale(), Controller()])
    again.load_state_dict(links.state_dict())
    signal, _ = run_chain(again, make_tokens())
    assert torch.equal(signal.penalty, torch.full_like(signal.penalty, 3.0))


def test_two_chains_of_one_config_share_no_state() -> None:
    config = Controller()
    first, second = chain([config]), chain([config])
    first.on_step(STATISTICS)
    assert second.state_dict() == {"controller": {"steps": 0}}


def test_state_of_other_interventions_is_refused() -> None:
    with pytest.raises(ConfigError, match="state of other interventions"):
        chain([Scale()]).load_state_dict({"controller": {"steps": 3}})
