"""A divergence from the reference policy that is weaker inside high windows, with a factor for each difficulty.

Chen et al., "ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping", arXiv 2510.08457,
Section 3.2 and Algorithm 1 of its Appendix F::

    penalty_t = weight * beta_d * rho_t * k3_t            k3 = e^-x + x - 1,  x = log pi - log pi_ref
    rho_t     = rho inside a high window, 1 elsewhere
    beta_d   <- clip( beta_d (1 + rate (KL_d / aim_d - 1)), smallest, largest )

with ``KL_d`` the mean of k3 over the step's tokens of difficulty ``d`` outside of high windows, of all ranks. A window
covers the ``window`` tokens that its mean is of (``windows.py``); entropies are the generating policy's, in nats. It is
a term of the loss, and no part of the reward. ``trainer.beta`` is a term of its own, and adds to this one.

Read: notes on the paper's full text, and the released code. The text that was read gives no value of ``rho``, ``beta``,
the aims or the rate. ``rho`` 0.5 is ours; the others are the released code's, whose rule is another (``as_released``):

* One factor for the whole completion: no ``rho_t``, so that windows have no part in it.
* ``KL`` is the mean over completions of their own means, moving (0.97). If it is more than 2% off its aim,
  ``log beta_d`` moves by 0.05 times a moving mean of ``KL / aim - 1``, which is cut to +-0.2.
* It measures every micro-batch of a rank by itself, and moves at every hundredth; its script has 128 in an optimiser
  step. Here both are done once in an optimiser step, with all ranks together.
* Its k3 stops at 10, where its gradient does too; here neither does.

Recipe::

    trainer: {beta: 0.0}
    interventions:
      - ares_kl: {relaxed: 0.5}
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.divergences import k3
from rlent.interventions.ares.difficulty import NAMES
from rlent.interventions.ares.windows import Threshold, Windows
from rlent.interventions.stages import Mean, Metrics, StepStatistics
from rlent.numerics import fill
from rlent.reduce import LOCAL, Reduce
from rlent.types import Rollouts, Selection, Signal, Tokens

_RELEASED_DECAY, _RELEASED_DEAD_ZONE, _RELEASED_LARGEST_STEP = 0.97, 0.02, 0.2


@dataclass(frozen=True, kw_only=True)
class AresKL(Windows):
    """Penalise the divergence from the reference policy, less inside high windows, by difficulty."""

    name: ClassVar[str] = "ares_kl"
    paper: ClassVar[str] = "ARES, arXiv 2510.08457"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})

    weight: float = 0.01
    """Loss per nat; the released code's."""
    relaxed: float = 0.5
    """rho: factor inside a high window, in [0, 1]; 1 is the same weight for all tokens. Ours."""
    aim: float = 0.01
    """Mean divergence that the factors are moved towards, nats; the released code's."""
    rate: float = 0.05
    """By which share of its relative error a factor moves, in [0, 1); 0 holds them. The released code's."""
    every: int = 1
    """Optimiser steps between two moves."""
    initial: float = 1.0
    """Factor of the first step; the released code's."""
    smallest: float = 1e-4
    """Lower bound of a factor."""
    largest: float = 100.0
    """Upper bound of a factor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")
        if not 0.0 <= self.relaxed <= 1.0:
            raise ValueError(f"relaxed must be in [0, 1], got {self.relaxed}")
        if not 0.0 < self.aim < math.inf:
            raise ValueError(f"aim must be positive, got {self.aim}")
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"rate must be in [0, 1), got {self.rate}")
        if self.every < 1:
            raise ValueError(f"every must be at least 1 optimiser step, got {self.every}")
        if not 0.0 < self.smallest <= self.initial <= self.largest < math.inf:
            raise ValueError(
                "smallest, initial and largest must be in order and positive, got "
                f"{self.smallest}, {self.initial} and {self.largest}"
            )
        self._refuse_settings_without_windows()

    def _refuse_settings_without_windows(self) -> None:
        if self.relaxed < 1.0:
            return
        for name in ("window", "quantile", "momentum"):
            if getattr(self, name) not in (getattr(AresKL, name), self.released.get(name)):
                raise ValueError(
                    f"{name} has no effect where relaxed is 1, as windows then have no part in it; remove it"
                )

    @property
    def released(self) -> dict[str, object]:
        return super().released | {"relaxed": 1.0}

    @classmethod
    def neutral(cls) -> "AresKL":
        return cls(weight=0.0)

    @property
    def needs(self) -> frozenset[str]:
        windows = {"old_entropy"} if self.relaxed < 1.0 else set[str]()
        return frozenset({"ref_logp", "whole_groups"} | windows)

    def build(self) -> "AresKLStages":
        return AresKLStages(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What the micro-batches need to know of their generation batch."""

    threshold: float
    group: Int[Tensor, " n"]
    grade: Int[Tensor, " n"]

    def grades(self, group: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Difficulty of each row's prompt."""
        ordered, order = self.group.sort()
        return self.grade[order[torch.searchsorted(ordered, group)]]


class AresKLStages:
    """The factors, what they were moved by, and the generation batch that is being learnt from."""

    def __init__(self, config: AresKL) -> None:
        self._config = config
        self._threshold = Threshold(config)
        self._factor = [config.initial] * 3
        self._divergence: list[float | None] = [None] * 3
        self._error = [0.0] * 3
        self._steps = 0
        self._seen: dict[bool, _Seen] = {}
        self._sums: Tensor | None = None
        self._reduce: Reduce = LOCAL

    def on_select(self, rollouts: Rollouts, selection: Selection) -> tuple[Selection, Metrics]:
        """Note the threshold and the difficulties; the selection stays as it is."""
        config = self._config
        windows = config.relaxed < 1.0
        threshold = self._threshold.of(rollouts) if windows else 0.0
        _, _, grade = config.graded(rollouts)
        self._seen[rollouts.train] = _Seen(threshold=threshold, group=rollouts.group, grade=grade)
        return selection, {"threshold": threshold} if windows else {}

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        assert tokens.ref_logp is not None
        seen = self._seen[tokens.train]
        grade, inside = seen.grades(tokens.group), self._inside(tokens, seen.threshold)
        divergence = k3(tokens.logp, tokens.ref_logp, tokens.mask)
        if tokens.train:
            self._add(divergence.detach(), tokens, grade, inside)
        metrics: dict[str, Any] = {
            "kl": Mean(divergence.detach().sum(), tokens.mask.sum()),
            "inside": Mean(inside.sum(), tokens.mask.sum()),
        } | {f"factor_{name}": self._factor[number] for number, name in enumerate(NAMES)}
        if self._config.weight == 0.0:
            return signal, metrics
        factor = divergence.new_tensor(self._factor)[grade].unsqueeze(1)
        factor = self._config.weight * factor * torch.where(inside, self._config.relaxed, 1.0)
        return replace(signal, penalty=signal.penalty + factor * divergence), metrics

    def _inside(self, tokens: Tokens, threshold: float) -> Bool[Tensor, "b t"]:
        """Tokens that a high window covers."""
        if self._config.relaxed == 1.0:
            return torch.zeros_like(tokens.mask)
        assert tokens.old_entropy is not None
        high = self._config.high(tokens.old_entropy, tokens.mask, threshold)
        before = torch.nn.functional.pad(high, (self._config.window - 1, 0))
        return before.unfold(1, self._config.window, 1).any(-1) & tokens.mask

    def _add(
        self, divergence: Float[Tensor, "b t"], tokens: Tokens, grade: Tensor, inside: Tensor
    ) -> None:
        """Sums and numbers for each difficulty, of tokens or in the released form of completions."""
        counted = tokens.mask & ~inside
        total, number = fill(divergence, counted).double().sum(1), counted.sum(1).double()
        if self._config.as_released:
            total, number = total / number.clamp(min=1), number.clamp(max=1)
        member = torch.nn.functional.one_hot(grade, 3).double()
        sums = torch.stack([total @ member, number @ member])
        self._sums = sums if self._sums is None else self._sums + sums
        self._reduce = tokens.reduce

    def on_step(self, statistics: StepStatistics) -> None:
        del statistics
        assert self._sums is not None
        total, number = self._reduce.sum(self._sums).tolist()
        self._sums = None
        self._steps += 1
        for grade in range(3):
            if number[grade]:
                self._move(grade, total[grade] / number[grade])

    def _move(self, grade: int, divergence: float) -> None:
        config = self._config
        moves = self._steps % config.every == 0
        if config.as_released:
            exponent = self._released_exponent(grade, divergence, moves=moves)
            changed = self._factor[grade] * math.exp(config.rate * exponent)
        else:
            error = divergence / config.aim - 1 if moves else 0.0
            changed = self._factor[grade] * (1 + config.rate * error)
        self._factor[grade] = min(max(changed, config.smallest), config.largest)

    def _released_exponent(self, grade: int, divergence: float, *, moves: bool) -> float:
        before = self._divergence[grade]
        before = divergence if before is None else before
        mean = (1 - _RELEASED_DECAY) * divergence + _RELEASED_DECAY * before
        self._divergence[grade] = mean
        error = mean / self._config.aim - 1
        if abs(error) < _RELEASED_DEAD_ZONE or not moves:
            return 0.0
        moving = (1 - _RELEASED_DECAY) * error + _RELEASED_DECAY * self._error[grade]
        self._error[grade] = moving
        return min(max(moving, -_RELEASED_LARGEST_STEP), _RELEASED_LARGEST_STEP)

    def state_dict(self) -> dict[str, Any]:
        return {
            "threshold": self._threshold.value,
            "factor": list(self._factor),
            "divergence": list(self._divergence),
            "error": list(self._error),
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._threshold.value = state["threshold"]
        self._factor, self._divergence = list(state["factor"]), list(state["divergence"])
        self._error, self._steps = list(state["error"]), state["steps"]
