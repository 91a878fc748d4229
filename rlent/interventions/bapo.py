"""Bounds on the ratio that widen until good completions have their share of the update.

Xi et al., "BAPO: Stabilizing Off-Policy Reinforcement Learning for LLMs via Balanced Policy Optimization with Adaptive
Clipping", arXiv 2510.18927. Over the tokens of a micro-batch on all ranks, without gradient::

    P(high) = sum_{A > 0} r_t A_t where r_t <= high          N(low) = sum_{A < 0} r_t |A_t| where r_t >= low

    raise ``low`` step by step, and at its end ``high`` step by step, until  P / (P + N) >= target

These are the sizes of the two gradients: a token that PPO clips has none. A higher ``low`` takes tokens out of ``N``, a
higher ``high`` takes tokens into ``P``, so that no step of the search lowers the share. The bounds start anew in every
micro-batch. What the released repository's front page calls the paper's settings are the defaults: target 0.5, low 0.6
to 0.9, high 1.2 to 3.0. The steps are the released code's.

Checked against the released code (``rlent conformance``); the front page and the abstract were read, the paper was not.
``as_released`` is the code, which parts from this in two things:

* It counts a clipped token at the bound, ``P = sum min(r_t, high) A_t`` and ``N = sum max(r_t, low) |A_t|``. A higher
  ``low`` makes that ``N`` larger: the first half of the search moves away from the target, and runs to its end unless
  the target holds at the start. Which of the two sums the paper has was not verified.
* It compares ``P / N`` with the target. The front page speaks of the contribution to the total policy gradient loss, a
  share; and a ratio of 0.5 is a share of one third.

Besides:

* The front page, the script (0.8 to 0.95, 1.2 to 2.0) and the docstring of the released function (0.6 to 0.8, 1.2 to
  2.0) name three pairs of ranges.
* Its dual clip is ``trainer.delta``. Neither sum knows of it, nor of gradient that ``clip_preserve`` keeps outside.

With one update per generation batch every ratio is 1, so several are needed. Recipe::

    interventions:
      - bapo: {target: 0.5, low: [0.6, 0.9], high: [1.2, 3.0]}
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from rlent.interventions.ratios import token_ratio
from rlent.interventions.stages import Intervention, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class BAPO(Intervention):
    """Widen the bounds of a micro-batch until tokens with a positive advantage contribute a share of the update."""

    name: ClassVar[str] = "bapo"
    paper: ClassVar[str] = "BAPO, arXiv 2510.18927"
    writes: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})
    reads: ClassVar[frozenset[str]] = frozenset({"select", "advantage"})

    target: float = 0.5
    """Share of the update that positive tokens are to contribute (rho_0)."""
    low: tuple[float, float] | None = (0.6, 0.9)
    """Where the lower bound on the ratio starts and ends; null leaves it where it is."""
    high: tuple[float, float] | None = (1.2, 3.0)
    """Where the upper bound on the ratio starts and ends; null leaves it where it is."""
    low_step: float = 0.05
    """By which the lower bound is raised."""
    high_step: float = 0.05
    """By which the upper bound is raised."""
    as_released: bool = False
    """The released code: clipped tokens contribute their bound, and ``target`` is the ratio of positive to negative
    contributions, not a share."""

    def __post_init__(self) -> None:
        if not self.target >= 0.0 or (self.target > 1.0 and not self.as_released):
            raise ValueError(
                f"target must be in [0, 1], or not negative with as_released, got {self.target}"
            )
        if self.low is not None and not 0.0 <= self.low[0] <= self.low[1] <= 1.0:
            raise ValueError(f"low must be two bounds in order and in [0, 1], got {self.low}")
        if self.high is not None and not 1.0 <= self.high[0] <= self.high[1]:
            raise ValueError(f"high must be two bounds in order from 1 on, got {self.high}")
        for name in ("low_step", "high_step"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @classmethod
    def neutral(cls) -> "BAPO":
        return cls(low=None, high=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"several_updates"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        lows = [signal.clip_low] if self.low is None else _bounds(signal, self.low, self.low_step)
        highs = (
            [signal.clip_high] if self.high is None else _bounds(signal, self.high, self.high_step)
        )
        positive, negative = self._contributions(tokens, signal, lows, highs)
        low, high = self._search(positive, negative)
        total = positive[high] + negative[low]
        moved = replace(signal, clip_low=lows[low], clip_high=highs[high])
        return moved, {
            "steps": float(low + high),
            "positive_share": positive[high] / total if total > 0 else 0.0,
        }

    def _contributions(
        self, tokens: Tokens, signal: Signal, lows: list[Tensor], highs: list[Tensor]
    ) -> tuple[list[float], list[float]]:
        """``P`` for every upper bound and ``N`` for every lower one, over all ranks."""
        learns = signal.select & tokens.mask
        ratio = token_ratio(tokens).double()
        advantage = fill(signal.advantage, learns).double()
        gain, loss = advantage.clamp(min=0), -advantage.clamp(max=0)
        if self.as_released:
            sums = [(ratio.minimum(high) * gain).sum() for high in highs]
            sums += [(ratio.maximum(low) * loss).sum() for low in lows]
        else:
            sums = [fill(ratio * gain, ratio <= high).sum() for high in highs]
            sums += [fill(ratio * loss, ratio >= low).sum() for low in lows]
        totals = tokens.reduce.sum(torch.stack(sums)).tolist()
        return totals[: len(highs)], totals[len(highs) :]

    def _search(self, positive: list[float], negative: list[float]) -> tuple[int, int]:
        """Places of the first pair of bounds that reaches the target, or of the widest."""
        last = len(negative) - 1
        pairs = [(low, 0) for low in range(last)]
        pairs += [(last, high) for high in range(len(positive))]
        for low, high in pairs:
            whole = negative[low] + (0.0 if self.as_released else positive[high])
            if positive[high] >= self.target * whole:
                return low, high
        return pairs[-1]


def _bounds(signal: Signal, ends: tuple[float, float], step: float) -> list[Tensor]:
    """From the first end to the second, both included. Steps are added up, as the released code does."""
    values = [ends[0]]
    while values[-1] < ends[1]:
        values.append(min(values[-1] + step, ends[1]))
    return [torch.full_like(signal.clip_low, value) for value in values]
