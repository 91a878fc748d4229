"""Reward for completions of a wanted length, whatever they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent_rewards.protocol import Completion, token_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetLength:
    """1.0 at the target length, falling to 0.0 on both sides of it.

    With L the number of a completion's tokens::

        max(0, 1 - |L - target| / width)

    The tokens are those of ``completion_ids``, which TRL passes: the end-of-text token is one. The
    shape is this library's; a penalty in proportion to |L - target|, without a limit and added to
    the reward of the answer, is LCPO-Exact of L1 (arXiv:2503.04697).

    Raises:
        ValueError: an option is not positive.
    """

    target: int
    """Tokens at which the reward is 1."""

    width: int
    """Tokens from the target at which the reward reaches 0."""

    def __post_init__(self) -> None:
        for option, given in (("target", self.target), ("width", self.width)):
            if given <= 0:
                raise ValueError(f"target_length: {option} must be positive; given: {given}")

    @property
    def __name__(self) -> str:
        return "target_length"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """A number in [0, 1] per completion.

        Raises:
            ValueError: ``completion_ids`` is missing or has another number of rows.
        """
        ids = token_ids(columns, rows=len(completions), reward="target_length")
        return [max(0.0, 1 - abs(len(tokens) - self.target) / self.width) for tokens in ids]
