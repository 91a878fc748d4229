"""Forks at windows of high entropy, after ARES.

ARES (arXiv 2510.08457, sections 2 and 3.2.1; read in the paper's text, its released code has no branching): with the
mean entropy of a window of ``w`` tokens and a threshold from the trajectories that have been sampled::

    Hbar_t   = (1 / w) sum_{tau = t}^{t + w - 1} H_tau
    tau_high = mean over trajectories of their quantile_0.95({ H_t })
    fork at t   if   Hbar_t > tau_high

What the paper leaves open is this library's: the trajectories of the threshold are the first completions of the same
prompt, not those of a mini-batch; windows that are forked at do not overlap in a completion; those of highest entropy
are served first; and forks are looked at no further. Entropies are those of the full distribution.

Recipe::

    rollout: {branching: {window_entropy: {initial_completions: 4}}}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

import torch

from rlent.errors import ConfigError
from rlent.rollout.forking.rule import Fork, ForkingRule, Tree
from rlent.rollout.records import Completion


@dataclass(frozen=True, kw_only=True)
class WindowEntropy(ForkingRule):
    """Fork at the beginning of windows whose mean entropy is above the threshold."""

    name: ClassVar[str] = "window_entropy"
    paper: ClassVar[str] = "ARES, arXiv 2510.08457, section 3.2.1"

    initial_completions: int
    """Completions of every prompt that are sampled first; fewer than `num_generations`."""
    window: int = 4
    """Tokens of a window (w, 4 to 8 in the paper)."""
    quantile: float = 0.95
    """Of a completion's entropies, in [0, 1): the threshold is the mean of these."""
    learn_shared: bool = True
    """Learn from shared tokens in every completion that holds them."""

    def __post_init__(self) -> None:
        for name in ("initial_completions", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.quantile < 1:
            raise ValueError(f"quantile must be in [0, 1), got {self.quantile:g}")

    def initial(self, generations: int) -> int:
        if self.initial_completions >= generations:
            raise ConfigError(
                "no place is left for forks",
                key="rollout.branching.window_entropy.initial_completions",
                expected=f"less than trainer.num_generations, {generations}",
                given=self.initial_completions,
            )
        return self.initial_completions

    def grow(self, tree: Tree) -> list[Fork]:
        if tree.round > 0:
            return []
        threshold = fmean(self._high(one) for one in tree.completions)
        found = [place for one in tree.completions for place in self._places(one, threshold)]
        return [Fork(parent=parent, step=step) for _, parent, step in sorted(found)]

    def _high(self, one: Completion) -> float:
        return float(torch.quantile(one.entropies.double(), self.quantile))

    def _places(self, one: Completion, threshold: float) -> Iterator[tuple[float, int, int]]:
        """(minus its mean entropy, index, step) of each window, from the highest on, that overlaps none before it."""
        if len(one.entropies) < self.window:
            return
        windows = one.entropies.double().unfold(0, self.window, 1).mean(1).tolist()
        taken: list[int] = []
        for mean, step in sorted((-mean, step) for step, mean in enumerate(windows)):
            if -mean > threshold and all(abs(step - other) >= self.window for other in taken):
                taken.append(step)
                yield mean, one.index, step
