"""Forks at one random token among those of highest entropy, after CURE.

CURE (arXiv 2508.11016; read was the released first stage, bytedance/CURE): of every prompt, ``n1`` completions are
sampled; in each, one of its ``top_k`` tokens of highest entropy is chosen at random, and from the prompt and everything
before that token ``n2`` completions are generated anew. All of them are one group of ``n1 * (1 + n2)``.

Not chosen, as in the release, are the first token, special tokens, and tokens whose text has less than two characters
without the spaces around it. Where no token is left, the completion is generated anew from the prompt.

In the release what comes before the token is the prompt of the new completions, so nothing is learnt from it there:
that is ``learn_shared: false``, the default. Its defaults: 4, 3, 20. Its prompts are cut where prompt and tokens
together are longer than the longest prompt; here nothing is cut, and a completion has at most
``trainer.max_completion_length`` tokens with the shared ones. The second stage of CURE is training without forks.

Recipe::

    rollout: {branching: {critical_token: {n1: 4, n2: 3}}}
    trainer: {num_generations: 16}
"""

from dataclasses import dataclass
from typing import ClassVar

from rlent.errors import ConfigError
from rlent.rollout.forking.rule import Fork, ForkingRule, Tree
from rlent.rollout.records import Completion


@dataclass(frozen=True, kw_only=True)
class CriticalToken(ForkingRule):
    """Generate anew from a random one of the tokens of highest entropy."""

    name: ClassVar[str] = "critical_token"
    paper: ClassVar[str] = "CURE, arXiv 2508.11016, first stage"

    n1: int = 4
    """Completions of every prompt that are sampled first."""
    n2: int = 3
    """Forks of each of them, all at the same token."""
    top_k: int = 20
    """Tokens of highest entropy that one is chosen from."""
    min_characters: int = 2
    """Of a token that may be chosen, without spaces around it."""
    learn_shared: bool = False
    """Learn from shared tokens in every completion that holds them, not in the first alone."""

    def __post_init__(self) -> None:
        for name in ("n1", "n2", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.min_characters < 0:
            raise ValueError(f"min_characters must not be negative, got {self.min_characters}")

    def initial(self, generations: int) -> int:
        if self.n1 * (1 + self.n2) != generations:
            raise ConfigError(
                "the group must be the first completions and all forks",
                key="rollout.branching.critical_token",
                expected=f"n1 * (1 + n2) = trainer.num_generations, {generations}",
                given=self.n1 * (1 + self.n2),
            )
        return self.n1

    def grow(self, tree: Tree) -> list[Fork]:
        if tree.round > 0:
            return []
        return [
            Fork(parent=one.index, step=self._critical(one, tree))
            for one in tree.fresh
            for _ in range(self.n2)
        ]

    def _critical(self, one: Completion, tree: Tree) -> int:
        tokens, entropies = one.token_ids.tolist(), one.entropies.tolist()
        usable = [
            place
            for place in range(1, len(tokens))
            if tokens[place] not in tree.special
            and len(tree.text(tokens[place]).strip()) >= self.min_characters
        ]
        usable.sort(key=lambda place: -entropies[place])
        chosen = usable[: self.top_k]
        return chosen[int(tree.chance(one.index, 0) * len(chosen))] if chosen else 0
