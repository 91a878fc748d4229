"""Reward for the right letter among several choices."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rlent_rewards.answer_text import TextExtraction, answer_text
from rlent_rewards.choices import check_choice
from rlent_rewards.protocol import Completion, column, completion_text, log_share

_COMMAND = re.compile(r"\\[A-Za-z]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class MultipleChoice:
    r"""1.0 where the answer chooses the letter of the reference, else 0.0.

    The choice is the one capital letter of ``letters`` that stands alone in the extracted answer:
    "B", "(B)", "B. Paris", ``\text{B}``, "option B". Where none does, it is the letter, capital or
    small, that is the whole answer but for marks: "(b)". What a letter means is not looked at, so
    the article A is a choice, too.

    An answer in which several different letters stand alone, such as "B or C", scores 0.0, as does
    one with none. Their shares are logged as ``rewards/multiple_choice/ambiguous`` and
    ``rewards/multiple_choice/unparsed`` where the trainer passes ``log_metric``.

    Raises:
        ValueError: the letters are not two or more different ones of A to Z, the extraction is
            unknown, the column is missing, or a reference is none of the letters.
    """

    answer_column: str = "answer"
    """The dataset column of right letters, written as "B", "b", "(B)" or "B."."""

    letters: str = "ABCD"
    """The letters of the choices."""

    extract: TextExtraction = "auto"
    """Where the answer stands, as in ``exact``; "auto" reads the whole completion at last, in which
    a discussion of several choices is ambiguous."""

    def __post_init__(self) -> None:
        check_choice("multiple_choice: extract", self.extract, get_args(TextExtraction))
        different = len(set(self.letters)) == len(self.letters)
        if not (different and re.fullmatch("[A-Z]{2,}", self.letters)):
            raise ValueError(
                "multiple_choice: letters must be two or more different letters of A to Z, such as "
                f"ABCD; given: {self.letters!r}"
            )

    @property
    def __name__(self) -> str:
        return "multiple_choice"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """1.0 or 0.0 per completion.

        Raises:
            ValueError: a completion has no text, the column is missing or of another length, or a
                reference is none of the letters.
        """
        values = column(columns, self.answer_column, rows=len(completions))
        references = [self._reference(value, row) for row, value in enumerate(values)]
        answers = [answer_text(completion_text(item), self.extract) for item in completions]
        chosen = [self._chosen(answer or "") for answer in answers]
        log_share(columns, "multiple_choice/ambiguous", [len(letters) > 1 for letters in chosen])
        log_share(columns, "multiple_choice/unparsed", [not letters for letters in chosen])
        return [
            float(letters == {reference})
            for letters, reference in zip(chosen, references, strict=True)
        ]

    def _chosen(self, answer: str) -> set[str]:
        answer = _COMMAND.sub(" ", answer)
        alone = rf"(?<![A-Za-z0-9_])[{self.letters}](?![A-Za-z0-9_])"
        return set(re.findall(alone, answer)) or self._only_letter(answer)

    def _only_letter(self, text: str) -> set[str]:
        match = re.fullmatch(rf"[\W_]*([{self.letters}{self.letters.lower()}])[\W_]*", text)
        return {match[1].upper()} if match else set()

    def _reference(self, value: object, row: int) -> str:
        letters = self._only_letter(value) if isinstance(value, str) else set()
        if not letters:
            raise ValueError(
                f"multiple_choice: row {row} of column {self.answer_column!r} must hold one of the "
                f"letters {', '.join(self.letters)}; given: {value!r:.200}"
            )
        return letters.pop()
