"""Gradient preserved outside the clip range.

GPPO: Su et al., "Klear-Reasoner", arXiv 2508.07629, Eq. 11-12. CE-GPPO: "Coordinating Entropy via Gradient-Preserving
Policy Optimization", arXiv 2509.20712 (v5), Eq. 8-10. The gradient of a token is ``-F A grad log pi`` with::

    F = keep_low  (1 - epsilon_low)      where r < 1 - epsilon_low  and A < 0    (beta_1: negative, unlikely)
        keep_high (1 + epsilon_high)     where r > 1 + epsilon_high and A > 0    (beta_2: positive, unlikely)
        r                                elsewhere

0 and 0 is PPO, 1 and 1 GPPO; 0.5 and 1 is CE-GPPO at 1.5B, 0.75 and 1 at 7B (Table 1; its limitations call 0.5 and 1
generally effective). Less on the low side and more on the high side keeps entropy up. Read in the papers and in both
released codes:

* Sec. 3.2 of CE-GPPO swaps the roles of the two in its prose; equations, ablations and code agree with the above.
* The loss value is PPO's: the papers' ``beta (1 -+ epsilon) A`` on clipped tokens differs in value where ``beta`` is
  not 1, never in gradient, and would not be PPO's at 0. ``rlent conformance`` therefore compares gradients.
* The released codes divide by the ratio and give NaN where it underflows; here no ratio is divided by.
* The dual clip at 10 of the released scripts is ``trainer.delta: 10.0``. The papers' equations have none.
* The scripts add a likelihood term on correct completions: ``positive_likelihood``.
* Fig. 6 of CE-GPPO raises ``keep_low`` from 0 to 0.5 at step 585: ``schedule: [[0, 0.0, 1.0], [585, 0.5, 1.0]]``.

How many tokens were clipped, and so preserved, is in TRL's metrics ``clip_ratio/*``. With one update per generation
batch every ratio is 1 and nothing is ever clipped, so several are needed. Recipe::

    interventions:
      - clip_preserve: {keep_low: 0.5, keep_high: 1.0}
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rlent.interventions.stages import Intervention, Metrics
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class ClipPreserve(Intervention):
    """Keep a share of the gradient of clipped tokens."""

    name: ClassVar[str] = "clip_preserve"
    paper: ClassVar[str] = "CE-GPPO, arXiv 2509.20712; GPPO, arXiv 2508.07629"
    writes: ClassVar[frozenset[str]] = frozenset({"keep_low", "keep_high"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"keep_low", "keep_high"})

    keep_low: float = 0.5
    """Share kept below the lower bound where the advantage is negative (beta_1)."""
    keep_high: float = 1.0
    """Share kept above the upper bound where the advantage is positive (beta_2)."""
    schedule: tuple[tuple[int, float, float], ...] = ()
    """``[step, keep_low, keep_high]``, each from its optimiser step on, in rising order; before the first of them the
    two settings above hold."""

    def __post_init__(self) -> None:
        shares = [self.keep_low, self.keep_high]
        for _, low, high in self.schedule:
            shares += [low, high]
        if min(shares) < 0:
            raise ValueError(
                f"keep_low, keep_high and schedule must not be negative, got {min(shares)}"
            )
        steps = [step for step, _, _ in self.schedule]
        if steps != sorted(set(steps)) or (steps and steps[0] < 0):
            raise ValueError(f"schedule must have rising steps from 0 on, got {steps}")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"several_updates"})

    @classmethod
    def neutral(cls) -> "ClipPreserve":
        return cls(keep_low=0.0, keep_high=0.0)

    def shares(self, step: int) -> tuple[float, float]:
        """``keep_low`` and ``keep_high`` at an optimiser step."""
        shares = self.keep_low, self.keep_high
        for start, low, high in self.schedule:
            if step >= start:
                shares = low, high
        return shares

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        low, high = self.shares(tokens.step)
        preserved = replace(
            signal,
            keep_low=torch.full_like(signal.keep_low, low),
            keep_high=torch.full_like(signal.keep_high, high),
        )
        return preserved, {"keep_low": low, "keep_high": high}
