"""Forks where the entropy has risen since the beginning, after ARPO.

ARPO (RUC-NLPIR/ARPO, read; the paper was not) forks agents after tool calls. With ``E_k`` the entropy of the first
``window`` tokens of the segment before the k-th tool call, and ``u`` a random number::

    fork at the end of segment k   if  clip(u - weight * (E_k - E_1), 0, 1) <= probability
    E_k = sum of H over these tokens / log V

Without tools there are no calls, and the released rule never forks: **here a segment ends every ``every`` tokens
instead**, which is no number of the paper. Each segment's end that a completion goes on after is looked at once, and
forked at most once (beam size 2); forks are looked at after their own first token. The release takes ``H`` of the 10
most probable tokens, without renormalising; here it is that of the full distribution. Its scripts set a weight of 0.2,
its configuration 0.5; a probability of 0.5; and fewer initial rollouts than completions (8 of 16; 6 of 12).

Places are served in the order in which they would be reached, round by round; the tool calls themselves, and ARPO's
advantages, are not here.

Recipe::

    rollout: {branching: {entropy_change: {initial_completions: 4, every: 64}}}
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rlent.errors import ConfigError
from rlent.rollout.forking.rule import Fork, ForkingRule, Tree, own_step
from rlent.rollout.records import Completion


@dataclass(frozen=True, kw_only=True)
class EntropyChange(ForkingRule):
    """Fork with a probability that grows with the entropy since the first segment."""

    name: ClassVar[str] = "entropy_change"
    paper: ClassVar[str] = (
        "ARPO, released code (RUC-NLPIR/ARPO), with segments in place of tool calls"
    )

    initial_completions: int
    """Completions of every prompt that are sampled first; fewer than `num_generations`."""
    every: int
    """Tokens of a segment."""
    window: int = 20
    """First tokens of a segment whose entropies are summed."""
    weight: float = 0.2
    """Of the change of entropy."""
    probability: float = 0.5
    """Of a fork where the entropy has not changed."""
    learn_shared: bool = True
    """Learn from shared tokens in every completion that holds them."""

    def __post_init__(self) -> None:
        for name in ("initial_completions", "every", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.window > self.every:
            raise ValueError(f"window must be at most every, {self.every}, got {self.window}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability:g}")

    def initial(self, generations: int) -> int:
        if self.initial_completions >= generations:
            raise ConfigError(
                "no place is left for forks",
                key="rollout.branching.entropy_change.initial_completions",
                expected=f"less than trainer.num_generations, {generations}",
                given=self.initial_completions,
            )
        return self.initial_completions

    def grow(self, tree: Tree) -> list[Fork]:
        found = [fork for one in tree.fresh for fork in self._forks(one, tree)]
        return sorted(found, key=lambda fork: (fork.step, fork.parent))

    def _forks(self, one: Completion, tree: Tree) -> Iterator[Fork]:
        entropies = one.entropies.tolist()
        scale = math.log(tree.vocabulary)
        first = math.fsum(entropies[: self.window]) / scale
        for end in range(self.every, len(entropies), self.every):
            if end <= own_step(one):
                continue
            start = end - self.every
            now = math.fsum(entropies[start : start + self.window]) / scale
            score = tree.chance(one.index, end) - self.weight * (now - first)
            if min(max(score, 0.0), 1.0) <= self.probability:
                yield Fork(parent=one.index, step=end)
