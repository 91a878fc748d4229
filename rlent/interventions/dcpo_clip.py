"""Bounds on the ratio that widen as the token was less likely.

Yang et al., "DCPO: Dynamic Clipping Policy Optimization", arXiv 2509.02333. A fixed bound lets an unlikely token's
probability move by almost nothing. Here the bound is on ``|r - 1| p`` with ``p = r q`` and ``q = pi_old``, so that::

    (1 + sqrt(max(0, 1 - 4 eps_low / q))) / 2  <=  r  <=  min( (1 + sqrt(1 + 4 eps_high / q)) / 2, cap )
    eps_low 0.16, eps_high 0.2, cap 10

so the lower bound is 0.5 for every ``q`` below ``4 eps_low``, and the upper one 1.17 at ``q = 1`` and 4.5 at 0.0125.

Checked against the released code (``rlent conformance``); of the paper, only second-hand accounts were read:

* ``as_released`` is the lower bound where ``q`` is 0 in the numbers' own precision: there the code has 1, so that a
  token of ``A < 0`` stops at once, and the formula its limit, 0.5.
* Settings of the trainer: the released scripts' base setting is 0.2 and 0.28, the cap is 10 or the dual clip, whichever
  is larger, and the dual clip is ``trainer.delta``. The loss is called a mean over the tokens of each response, and is
  a mean over the tokens of the micro-batch (``trainer.loss_type: bnpo``).
* Bounds on a sequence's ratio, which the code has too, are not here: it takes the mean log-ratio of the whole
  micro-batch for every sequence's.

The advantages of the same paper are not part of this. With one update per generation batch every ratio is 1, so several
are needed. Recipe::

    interventions:
      - dcpo_clip: {epsilon_low: 0.16, epsilon_high: 0.2}
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens

_MOST_SURPRISE = 60.0
"""Nats beyond which a token's probability makes no difference to its bounds, and ``1 / q`` might overflow."""


@dataclass(frozen=True, kw_only=True)
class DCPOClip(Intervention):
    """Bound the ratio of a token by its probability under the generating policy."""

    name: ClassVar[str] = "dcpo_clip"
    paper: ClassVar[str] = "DCPO, arXiv 2509.02333"
    writes: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})
    overwrites: ClassVar[frozenset[str]] = frozenset({"clip_low", "clip_high"})

    epsilon_low: float | None = 0.16
    """How far down a token may move, in probability; null leaves the lower bound where it is."""
    epsilon_high: float | None = 0.2
    """How far up a token may move, in probability; null leaves the upper bound where it is."""
    cap: float = 10.0
    """Largest upper bound on the ratio, at least 1."""
    as_released: bool = False
    """The released code's lower bound of 1 for tokens whose probability was 0."""

    def __post_init__(self) -> None:
        for name in ("epsilon_low", "epsilon_high"):
            epsilon = getattr(self, name)
            if epsilon is not None and not 0.0 <= epsilon <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {epsilon}")
        if not self.cap >= 1.0:
            raise ValueError(f"cap must be at least 1, got {self.cap}")
        if self.as_released and self.epsilon_low is None:
            raise ValueError(
                "as_released is about the lower bound, which epsilon_low: null leaves where it is; "
                "remove one of the two"
            )

    @classmethod
    def neutral(cls) -> "DCPOClip":
        return cls(epsilon_low=None, epsilon_high=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"several_updates"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        surprise = -fill(tokens.old_logp, tokens.mask)
        inverse = surprise.clamp(max=_MOST_SURPRISE).exp()
        low, high = signal.clip_low, signal.clip_high
        if self.epsilon_low is not None:
            low = (1 + (1 - 4 * self.epsilon_low * inverse).clamp(min=0).sqrt()) / 2
            if self.as_released:
                low = low.masked_fill((-surprise).exp() == 0, 1.0)
        if self.epsilon_high is not None:
            high = ((1 + (1 + 4 * self.epsilon_high * inverse).sqrt()) / 2).clamp(max=self.cap)
        moved = replace(
            signal,
            clip_low=torch.where(tokens.mask, low, signal.clip_low),
            clip_high=torch.where(tokens.mask, high, signal.clip_high),
        )
        count = tokens.mask.sum()
        return moved, {
            "low": Mean(fill(moved.clip_low, tokens.mask).sum(), count),
            "high": Mean(fill(moved.clip_high, tokens.mask).sum(), count),
        }
