"""Where uncertainty lasts: tokens whose window of entropies is above a threshold.

ARES, arXiv 2510.08457, Section 3.2.1, with ``H_t`` the entropy under the generating policy (nats)::

    Hbar_t = mean( H_t ... H_{t+w-1} )                      w = 4
    tau    = mean over completions of their 0.95-quantiles of H_t
    high:    Hbar_t > tau

Windows that the end of the completion cuts short are the mean of what is left of them; the paper does not say. The
released code (``as_released``) has ``Hbar_t`` of the ``w`` tokens after ``t``, all of which must exist, and for ``tau``
the median over completions of the quantiles of ``Hbar_t``, moving (0.99), from the batch before, 1.5 nats at first.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.ares.difficulty import difficulties
from rlent.interventions.stages import Intervention
from rlent.numerics import fill, row_quantile, top_count, window_mean
from rlent.reduce import Reduce
from rlent.released import take_released_settings
from rlent.types import Rollouts

_RELEASED = {"momentum": 0.99, "easy": 2 / 3, "medium": 1 / 3}
_FIRST_THRESHOLD = 1.5
"""Nats. The released threshold before the first batch has been measured."""


@dataclass(frozen=True, kw_only=True)
class Windows(Intervention):
    """What both interventions of ARES are told: high windows, and how hard a prompt is."""

    window: int = 4
    """Tokens of a window."""
    quantile: float = 0.95
    """Of a completion's entropies, for the threshold."""
    momentum: float = 0.0
    """Share of the earlier threshold in the new one; 0 is the paper's, which is the batch's own."""
    easy: float = 0.75
    """Smallest pass rate of an easy prompt: 6 of 8."""
    medium: float = 0.375
    """Smallest pass rate of a prompt that is not hard: 3 of 8."""
    correct: float = 0.5
    """A completion with a reward above this is correct."""
    reward: str | None = None
    """Name of the listed reward that says what is correct, before its weight; None is the whole reward."""
    as_released: bool = False
    """The released code in place of the paper."""

    def __post_init__(self) -> None:
        if self.as_released:
            take_released_settings(self, self.released)
        if self.window < 1:
            raise ValueError(f"window must be at least 1 token, got {self.window}")
        if not 0.0 <= self.quantile <= 1.0:
            raise ValueError(f"quantile must be in [0, 1], got {self.quantile}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")
        if not 0.0 <= self.medium <= self.easy <= 1.0:
            raise ValueError(
                f"medium and easy must be in order and in [0, 1], got {self.medium} and {self.easy}"
            )
        if not math.isfinite(self.correct):
            raise ValueError(f"correct must be finite, got {self.correct}")

    @property
    def released(self) -> dict[str, object]:
        """Settings of the released code."""
        return dict(_RELEASED)

    @property
    def named_rewards(self) -> frozenset[str]:
        return frozenset() if self.reward is None else frozenset({self.reward})

    def graded(self, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor]:
        """Correct [n], scored [n], and the difficulty [n] of each completion's prompt."""
        reward = rollouts.named_reward(self.reward)
        right, scored = reward > self.correct, ~reward.isnan()
        grade = difficulties(right, scored, rollouts.group, easy=self.easy, medium=self.medium)
        return right, scored, grade

    def high(
        self, entropy: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"], threshold: float
    ) -> Bool[Tensor, "n t"]:
        """Tokens whose window is above the threshold."""
        mean, size = window_mean(entropy, mask, self.window, skip=int(self.as_released))
        if self.as_released:
            return mask & (size == self.window) & (mean >= threshold)
        return mask & (mean > threshold)


class Threshold:
    """The threshold of window entropies, nats, and what it was before; the same on every rank."""

    def __init__(self, config: Windows) -> None:
        self._config = config
        self.value: float | None = None
        """After the last batch of training; None before the first."""

    def of(self, rollouts: Rollouts) -> float:
        """The threshold for these rollouts; moves it if they are of training. 0 where there has been no token yet."""
        measured, before = self._measured(rollouts), self.value
        after = self._moved(measured)
        if rollouts.train:
            self.value = after
        if self._config.as_released:
            return _FIRST_THRESHOLD if before is None else before
        return 0.0 if after is None else after

    def _moved(self, measured: float | None) -> float | None:
        if measured is None or self.value is None:
            return self.value if measured is None else measured
        momentum = self._config.momentum
        return momentum * self.value + (1 - momentum) * measured

    def _measured(self, rollouts: Rollouts) -> float | None:
        """Over the completions of all ranks that have a token; None if there is none."""
        assert rollouts.old_entropy is not None
        entropy, mask = rollouts.old_entropy, rollouts.mask
        present = mask.any(1)
        if self._config.as_released:
            quantiles = row_quantile(
                self._filled_windows(entropy, mask), mask, self._config.quantile
            )
            return median(quantiles.squeeze(1), present, rollouts.reduce)
        quantiles = row_quantile(entropy, mask, self._config.quantile).squeeze(1).double()
        total, count = rollouts.reduce.sum(torch.stack([quantiles.sum(), present.sum().double()]))
        return float(total / count) if count else None

    def _filled_windows(self, entropy: Tensor, mask: Tensor) -> Tensor:
        """Means of the whole windows after each token, their own mean elsewhere, the first entropy if there is none."""
        mean, size = window_mean(entropy, mask, self._config.window, skip=1)
        whole = mask & (size == self._config.window)
        number = whole.sum(1, keepdim=True)
        average = fill(mean, whole).sum(1, keepdim=True) / number.clamp(min=1)
        first = fill(entropy, mask).gather(1, mask.int().argmax(1, keepdim=True))
        return torch.where(whole, mean, torch.where(number > 0, average, first))


def median(values: Float[Tensor, " n"], mask: Bool[Tensor, " n"], reduce: Reduce) -> float | None:
    """Median of the masked-in values of all ranks, the mean of the middle two if they are even; None of none."""
    count = reduce.sum(mask.sum())
    if not count:
        return None
    places = torch.stack([count - count // 2, count // 2 + 1])
    middle = [_from_the_top(values, mask, place, reduce) for place in places]
    return float(sum(middle) / 2)


def _from_the_top(values: Tensor, mask: Tensor, place: Tensor, reduce: Reduce) -> Tensor:
    """The ``place``-th largest value, float64."""
    chosen = top_count(values, mask, place, reduce)
    smallest = fill(values.double(), chosen, math.inf)
    return reduce.min(torch.cat([smallest, smallest.new_tensor([math.inf])]).min())
