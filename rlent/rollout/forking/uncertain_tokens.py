"""Forks at the most uncertain tokens of a tree, after TreeRL.

TreeRL (arXiv 2506.11902; read was the released search, THUDM/TreeRL): of every prompt, ``trees`` completions are
sampled. In each round the ``tokens`` most uncertain tokens of every tree, among all its completions, are forked
``forks`` times each::

    uncertainty_t = -log p(y_t)          of the sampled token

Not forked at, as in the release: a fork's own first token, and whatever comes after a token whose text contains one of
``until``. The release's defaults: 6 trees, 2 tokens, 1 round, 2 forks. A group is
``trees * (1 + tokens * rounds * forks)`` completions, 30 by default. Where a tree has fewer such tokens, the release
forks at the same ones again; here the group is filled with plain completions.

TreeRL's rewards and its advantages of the segments of a tree are not here: a group is a group of whole completions.
What is shared is learnt from in every completion that holds it, which is not what the paper does;
``learn_shared: false`` learns from it once.

Recipe::

    rollout: {branching: {uncertain_tokens: {trees: 2, tokens: 3, forks: 1}}}
    trainer: {num_generations: 8}
"""

from dataclasses import dataclass
from typing import ClassVar

from rlent.errors import ConfigError
from rlent.rollout.forking.rule import Fork, ForkingRule, Tree, own_step
from rlent.rollout.records import Completion


@dataclass(frozen=True, kw_only=True)
class UncertainTokens(ForkingRule):
    """Fork where the sampled token was least probable."""

    name: ClassVar[str] = "uncertain_tokens"
    paper: ClassVar[str] = "TreeRL, arXiv 2506.11902, the tree search"

    trees: int = 6
    """Completions of every prompt that are sampled first: the roots."""
    tokens: int = 2
    """Places of every tree that are forked at in a round."""
    rounds: int = 1
    """Times that the trees grow."""
    forks: int = 2
    """Forks at each place."""
    until: tuple[str, ...] = ("conclusion", "answer")
    """Texts in a token, in small letters, after which nothing is forked."""
    learn_shared: bool = True
    """Learn from shared tokens in every completion that holds them."""

    def __post_init__(self) -> None:
        for name in ("trees", "tokens", "rounds", "forks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if any(text != text.lower() or not text for text in self.until):
            raise ValueError(f"until must be texts in small letters, got {list(self.until)}")

    def initial(self, generations: int) -> int:
        size = self.trees * (1 + self.tokens * self.rounds * self.forks)
        if size != generations:
            raise ConfigError(
                "the group must be the roots and all forks",
                key="rollout.branching.uncertain_tokens",
                expected="trees * (1 + tokens * rounds * forks) = trainer.num_generations, "
                f"{generations}",
                given=size,
            )
        return self.trees

    def grow(self, tree: Tree) -> list[Fork]:
        if tree.round >= self.rounds:
            return []
        by_root: dict[int, list[tuple[float, int, int]]] = {}
        for one in tree.completions:
            places = by_root.setdefault(_root(one, tree), [])
            log_probs = one.log_probs.tolist()
            places += [(log_probs[step], one.index, step) for step in self._usable(one, tree)]
        return [
            Fork(parent=parent, step=step)
            for places in by_root.values()
            for _, parent, step in sorted(places)[: self.tokens]
            for _ in range(self.forks)
        ]

    def _usable(self, one: Completion, tree: Tree) -> range:
        """Steps of own tokens that may be forked at."""
        first = 0 if one.branch_step is None else one.branch_step + 1
        tokens = one.token_ids.tolist()
        for step in range(own_step(one), len(tokens)):
            if any(text in tree.text(tokens[step]).lower() for text in self.until):
                return range(first, step + 1)
        return range(first, len(tokens))


def _root(one: Completion, tree: Tree) -> int:
    while one.parent is not None:
        one = tree.completions[one.parent]
    return one.index
