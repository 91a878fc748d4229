"""Reward for an answer that is the reference, letter for letter."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rlent_rewards.answer_text import TextExtraction, answer_text
from rlent_rewards.choices import check_choice
from rlent_rewards.protocol import Completion, column, completion_text, log_share


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    r"""1.0 where the text of the answer equals the reference after the same normalisation, else 0.0.

    The options say what is ignored on both sides, in the order in which they apply. Nothing else
    is: by default "Paris" is neither "paris" nor "Paris.", and texts that only look alike, such as
    the two Unicode spellings of an accented letter, differ.

    A missing answer scores 0.0; the share is logged as ``rewards/exact/unparsed`` where the trainer
    passes ``log_metric``.

    Raises:
        ValueError: the extraction is unknown, the column is missing, or nothing is left of a
            reference.
    """

    answer_column: str = "answer"
    """The dataset column of reference texts or integers."""

    extract: TextExtraction = "auto"
    r"""Where the answer stands: "boxed" (last ``\boxed{...}``), "answer_tag" (last
    ``<answer>...</answer>``), "marker" (the sentence after the last "Answer:", "answer is" or
    "####"), "whole", "last_word", or "auto": the first of the others that is there."""

    ignore_punctuation: bool = False
    """Leave out what Unicode calls punctuation, such as ``.``, ``-`` and ``*`` but not ``$`` and
    ``+``, which are symbols."""

    ignore_case: bool = False
    """Compare case-folded texts, in which "Straße" is "STRASSE"."""

    collapse_whitespace: bool = False
    """Read every run of white space as one blank."""

    strip: bool = True
    """Leave out white space at both ends."""

    def __post_init__(self) -> None:
        check_choice("exact: extract", self.extract, get_args(TextExtraction))

    @property
    def __name__(self) -> str:
        return "exact"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """1.0 or 0.0 per completion.

        Raises:
            ValueError: a completion has no text, the column is missing or of another length, or
                nothing is left of a reference.
        """
        values = column(columns, self.answer_column, rows=len(completions))
        references = [self._reference(value, row) for row, value in enumerate(values)]
        answers = [answer_text(completion_text(item), self.extract) for item in completions]
        log_share(columns, "exact/unparsed", [answer is None for answer in answers])
        return [
            float(answer is not None and self._normal(answer) == reference)
            for answer, reference in zip(answers, references, strict=True)
        ]

    def _reference(self, value: object, row: int) -> str:
        reference = self._normal(str(value)) if isinstance(value, str | int) else ""
        if not reference.strip():
            raise ValueError(
                f"exact: row {row} of column {self.answer_column!r} must hold a text or an integer "
                f"of which normalisation leaves something; given: {value!r:.200}"
            )
        return reference

    def _normal(self, text: str) -> str:
        if self.ignore_punctuation:
            text = "".join(mark for mark in text if not unicodedata.category(mark).startswith("P"))
        if self.ignore_case:
            text = text.casefold()
        if self.collapse_whitespace:
            text = re.sub(r"\s+", " ", text)
        return text.strip() if self.strip else text
