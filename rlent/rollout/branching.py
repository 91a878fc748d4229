"""Where completions fork.

A hook sees every live sequence once per decoding step, after its token was drawn and before it is appended, and names
those to fork. A fork shares with its parent the prompt, the ``step`` tokens before this one, their numbers and their
keys and values. At this step it draws again, from the same distribution with a random number of its own, so it may draw
the same token; from then on nothing is shared. At its own branch step a fork is not shown to the hook: it would see
there what it has just seen. Forks can fork.

A hook is any callable that takes the live sequences (by prompt, then by index) and returns places in that list.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rlent.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSequence:
    """What a hook sees of one sequence."""

    prompt: int
    index: int
    """Number among the prompt's completions, as in ``Completion``."""
    parent: int | None
    step: int
    """Number of tokens before the one just drawn."""
    token: int
    log_prob: float
    """Of the token just drawn: nats, full distribution, as in ``Completion``."""
    entropy: float
    """Of the distribution it was drawn from: nats, full distribution."""
    entropies: Sequence[float]
    """Those of the ``step`` tokens before, the shared ones included."""


Hook = Callable[[Sequence[LiveSequence]], Iterable[int]]


@dataclass(frozen=True, kw_only=True)
class Branching:
    """A hook and its budgets. Raises ConfigError that names the recipe's key."""

    hook: Hook
    max_branches: int
    """Most forks of one prompt; those first in the list win."""
    max_tokens: int | None = None
    """Tokens drawn for one prompt by all its completions together; what forks share is counted once.

    With fewer tokens left than a prompt has live sequences, those of the lowest index draw, and the others end where
    they are with ``finish: budget``, perhaps without a token of their own, as do those that still wait. So with this
    budget, as with ``max_branches``, who gets what depends on ``max_live``.
    """

    def __post_init__(self) -> None:
        _check("max_branches", self.max_branches, self.max_branches >= 0, "at least 0")
        if self.max_tokens is not None:
            _check("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")

    def allows(self, *, branches: int, tokens: int) -> bool:
        """Whether a prompt with so many forks and so many drawn tokens may have another fork."""
        return branches < self.max_branches and (
            self.max_tokens is None or tokens < self.max_tokens
        )


@dataclass(frozen=True, kw_only=True)
class EntropySpike:
    """Fork where the entropy of the distribution is above ``threshold`` nats."""

    threshold: float

    def __post_init__(self) -> None:
        _check("threshold", self.threshold, self.threshold >= 0, "at least 0 nats")

    def __call__(self, live: Sequence[LiveSequence]) -> list[int]:
        return [i for i, sequence in enumerate(live) if sequence.entropy > self.threshold]


@dataclass(frozen=True, kw_only=True)
class MeanEntropy:
    """Fork where the mean entropy of the last ``window`` tokens is above ``threshold`` nats.

    Looked at once per ``window`` tokens, at the last of them: windows that overlap would fork at step after step.
    """

    window: int
    threshold: float

    def __post_init__(self) -> None:
        _check("window", self.window, self.window >= 1, "at least 1 token")
        _check("threshold", self.threshold, self.threshold >= 0, "at least 0 nats")

    def __call__(self, live: Sequence[LiveSequence]) -> list[int]:
        return [i for i, sequence in enumerate(live) if self._is_uncertain(sequence)]

    def _is_uncertain(self, sequence: LiveSequence) -> bool:
        if (sequence.step + 1) % self.window:
            return False
        before = sequence.entropies[sequence.step + 1 - self.window :]
        return (sum(before) + sequence.entropy) / self.window > self.threshold


@dataclass(frozen=True, kw_only=True)
class FixedStep:
    """Fork every sequence once, at ``step``, the number of tokens that are shared."""

    step: int

    def __post_init__(self) -> None:
        _check("step", self.step, self.step >= 0, "at least 0")

    def __call__(self, live: Sequence[LiveSequence]) -> list[int]:
        return [i for i, sequence in enumerate(live) if sequence.step == self.step]


def _check(name: str, value: object, valid: bool, expected: str) -> None:
    if not valid:
        raise ConfigError(
            f"{name} must be {expected}", key=f"rollout.branching.{name}", given=value
        )
