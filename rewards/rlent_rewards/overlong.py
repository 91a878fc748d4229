"""Reward against completions that run into the length limit, whatever they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent_rewards.protocol import Completion, token_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlong:
    """DAPO's soft overlong punishment (arXiv:2503.14476, Eq. 13), from 0.0 down to -1.0.

    With L the number of a completion's tokens::

        0                                   L <= max_length - cache
        (max_length - cache - L) / cache    max_length - cache < L <= max_length
        -1                                  L > max_length

    The tokens are those of ``completion_ids``, which TRL passes: the end-of-text token is one. DAPO
    adds this to the reward of the answer, that is with weight 1. Where the trainer generates no
    more than ``max_length - cache`` tokens, it is 0 everywhere.

    Raises:
        ValueError: an option is not positive, or ``cache`` exceeds ``max_length``.
    """

    max_length: int
    """Tokens at which the punishment is full; DAPO generates at most 20480."""

    cache: int = 4096
    """Tokens before ``max_length`` over which the punishment grows; the default is DAPO's."""

    def __post_init__(self) -> None:
        for option, given in (("max_length", self.max_length), ("cache", self.cache)):
            if given <= 0:
                raise ValueError(f"overlong: {option} must be positive; given: {given}")
        if self.cache > self.max_length:
            raise ValueError(
                f"overlong: cache must be at most max_length; given: cache={self.cache}, "
                f"max_length={self.max_length}"
            )

    @property
    def __name__(self) -> str:
        return "overlong"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """A number in [-1, 0] per completion.

        Raises:
            ValueError: ``completion_ids`` is missing or has another number of rows.
        """
        ids = token_ids(columns, rows=len(completions), reward="overlong")
        return [self._punishment(len(tokens)) for tokens in ids]

    def _punishment(self, length: int) -> float:
        return max(-1.0, min(0.0, (self.max_length - self.cache - length) / self.cache))
