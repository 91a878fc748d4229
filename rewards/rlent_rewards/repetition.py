"""Reward against completions that repeat themselves, whatever they say."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rlent_rewards.choices import check_choice
from rlent_rewards.protocol import Completion, completion_text, token_ids

Unit = Literal["tokens", "words"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """Minus the share of n-grams that have come before, from 0.0 down to almost -1.0.

    With N the number of a completion's n-grams, overlapping ones included, and D the number of
    different ones::

        D / N - 1        0 where the completion has fewer than n tokens or words

    This is the repetition penalty of the released code of "Demystifying Long Chain-of-Thought
    Reasoning" (arXiv:2502.03373), whose n-grams are of lower-case words, and of TRL's
    ``get_repetition_penalty_reward``, whose n-grams are of tokens. The penalty that the paper's
    appendix describes and its experiments use is another: a constant on each repeated token, which
    one number per completion cannot say.
    """

    n: int = 3
    """Tokens or words of an n-gram; 3 is TRL's, the paper's script has 40 tokens."""

    of: Unit = "tokens"
    """What an n-gram is made of: "tokens", those of ``completion_ids``, which TRL passes, or
    "words", the lower-case text split at white space, of which Chinese or Japanese has little."""

    def __post_init__(self) -> None:
        check_choice("repetition: of", self.of, get_args(Unit))
        if self.n <= 0:
            raise ValueError(f"repetition: n must be positive; given: {self.n}")

    @property
    def __name__(self) -> str:
        return "repetition"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """A number in (-1, 0] per completion.

        Raises:
            ValueError: ``completion_ids`` is missing or has another number of rows; for words, a
                completion has no text.
        """
        if self.of == "words":
            texts: Iterable[Sequence[Hashable]] = (
                completion_text(completion).lower().split() for completion in completions
            )
        else:
            texts = token_ids(columns, rows=len(completions), reward="repetition")
        return [_repetition(text, self.n) for text in texts]


def _repetition(text: Sequence[Hashable], n: int) -> float:
    grams = _ngrams(text, n)
    return len(set(grams)) / len(grams) - 1 if grams else 0.0


def _ngrams(text: Sequence[Hashable], n: int) -> Sequence[Hashable]:
    """A number for each n-gram, the same for the same ones; memory does not grow with ``n``."""
    grams, size = text, 1
    while size < n and grams:
        # Two grams that overlap make a longer one.
        step = min(size, n - size)
        numbers: dict[Hashable, int] = {}
        pairs = zip(grams, grams[step:], strict=False)
        grams = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
        size += step
    return grams
