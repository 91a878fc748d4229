"""What a forking rule is: where finished completions are taken up again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlent.rollout.records import Completion


@dataclass(frozen=True, kw_only=True, slots=True)
class Fork:
    """One completion to be: the first ``step`` tokens of ``parent``, and others from there on."""

    parent: int
    """``Completion.index``."""
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """The completions of one prompt so far, by index."""

    completions: Sequence[Completion]
    fresh: Sequence[Completion]
    """Those of the last round."""
    round: int
    """Number of rounds of forks before this one."""
    vocabulary: int
    """Number of tokens that the model knows."""
    chance: Callable[[int, int], float]
    """A random number in [0, 1) that belongs to a completion's index and a number: always the same one."""
    text: Callable[[int], str]
    """Of a token."""
    special: frozenset[int]
    """Tokens that are no text."""


class ForkingRule:
    """How a group of completions is made of fewer that are sampled as ever, and of forks of these.

    Rounds follow each other until the group is full or a round has no fork; what is missing then is sampled plainly.
    Everything that a rule looks at belongs to one prompt, so the group depends on the model, the prompt, the settings
    and the seed, and on nothing else.

    Subclasses are frozen dataclasses whose fields are the options of a recipe.
    """

    name: ClassVar[str]
    """In recipes."""
    paper: ClassVar[str]
    learn_shared: bool
    """Learn from the tokens that a fork shares with its parent in every completion that holds them, or in the first
    alone."""

    def initial(self, generations: int) -> int:
        """Completions that are sampled plainly first. Raises ConfigError if the group cannot be made of them."""
        raise NotImplementedError

    def grow(self, tree: Tree) -> list[Fork]:
        """The forks of the next round, those first that are made if there is room for some only."""
        raise NotImplementedError


def own_step(completion: Completion) -> int:
    """Place of the first token that is the completion's own."""
    return completion.branch_step or 0
