"""Reward for right answers that are short and wrong answers that are long."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent_rewards.correctness import Correctness
from rlent_rewards.protocol import Completion, token_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineLength:
    """The cosine reward of "Demystifying Long Chain-of-Thought Reasoning" (arXiv:2502.03373, C.1).

    With L the number of a completion's tokens, T ``max_length``, and r_0 and r_T the rewards at the
    two ends for a right or for a wrong answer::

        r_T + (r_0 - r_T) * (1 + cos(pi * L / T)) / 2    L < T
        exceeded                                         L >= T

    The tokens are those of ``completion_ids``, which TRL passes: the end-of-text token is one, so a
    completion that ends by itself with its T-th token counts as too long. The released code adds a
    margin to L before it compares it with T; this does not.

    The reward of the answer is part of it: list that one beside it with weight 0, or not at all. An
    answer is right where it gives 1.0 or more. What it logs it logs here, too, and where it gives
    no score there is none here.

    Raises:
        ValueError: ``max_length`` is not positive or a reward is not finite.
    """

    correctness: Correctness
    """The reward that says whether an answer is right, by name: ``{math_answer: {}}``."""

    max_length: int
    """Tokens T at which a completion counts as too long."""

    correct_short: float = 2.0
    """Reward r_0 of a right answer without tokens; this default and those below are of the paper's
    released script for section 4.2."""

    correct_long: float = 1.0
    """Reward r_T of a right answer just below T."""

    wrong_short: float = -10.0
    """Reward r_0 of a wrong answer without tokens."""

    wrong_long: float = 0.0
    """Reward r_T of a wrong answer just below T."""

    exceeded: float = -10.0
    """Reward of a completion of T or more tokens, right or wrong."""

    def __post_init__(self) -> None:
        if self.max_length <= 0:
            raise ValueError(
                f"cosine_length: max_length must be positive; given: {self.max_length}"
            )
        for option in ("correct_short", "correct_long", "wrong_short", "wrong_long", "exceeded"):
            if not math.isfinite(given := getattr(self, option)):
                raise ValueError(f"cosine_length: {option} must be finite; given: {given}")

    @property
    def __name__(self) -> str:
        return "cosine_length"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """A number per completion, NaN where the answer is not scored.

        Raises:
            ValueError: as the reward of the answer, or ``completion_ids`` is missing or has another
                number of rows.
        """
        ids = token_ids(columns, rows=len(completions), reward="cosine_length")
        scores = self.correctness.reward(completions, **columns)
        return [self._reward(score, len(tokens)) for score, tokens in zip(scores, ids, strict=True)]

    def _reward(self, score: float, length: int) -> float:
        if math.isnan(score):
            return math.nan
        if length >= self.max_length:
            return self.exceeded
        short, long = (
            (self.correct_short, self.correct_long)
            if score >= 1
            else (self.wrong_short, self.wrong_long)
        )
        return long + (short - long) * (1 + math.cos(math.pi * length / self.max_length)) / 2
