"""Reward for a number that is near enough to the reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

from rlent_rewards.choices import check_choice
from rlent_rewards.extraction import Extraction, clean, extract_answer
from rlent_rewards.guards import MAX_CHARACTERS
from rlent_rewards.plain_number import Number, plain_number, readings
from rlent_rewards.protocol import Completion, column, completion_text, log_share


@dataclass(frozen=True, kw_only=True, slots=True)
class Numeric:
    r"""1.0 where the answer is a number within the tolerance of the reference, else 0.0.

    With a the answer and b the reference, both as exact fractions::

        |a - b| <= max(absolute_tolerance, relative_tolerance * |b|)

    Without a tolerance that is equality: 0.5 is ``\frac{1}{2}``, and 0.333333 is not 1/3. A percent
    sign on one side only is read both as a unit and as hundredths; any other unit, a word after the
    number, is ignored.

    The whole extracted answer must be one number, else it scores 0.0: "x = 5" and "3 m^2" are none
    in a box, and are 5 and 2 with ``extract: last_number``. The share of such answers, of missing
    ones and of those longer than 200 characters is logged as ``rewards/numeric/unparsed`` where the
    trainer passes ``log_metric``.

    Raises:
        ValueError: a tolerance is negative or not finite, the extraction is unknown, the column is
            missing, or a reference is no number.
    """

    answer_column: str = "answer"
    """The dataset column of reference numbers, or of texts that are one number."""

    extract: Extraction = "auto"
    """Where the answer stands, as in ``math_answer``."""

    absolute_tolerance: float = 0.0
    """Largest difference that is right, in the unit of the answer, read as the decimal that is
    written: 0.3 is 3/10."""

    relative_tolerance: float = 0.0
    """The same as a share of the reference: 0.01 is 1%."""

    def __post_init__(self) -> None:
        check_choice("numeric: extract", self.extract, get_args(Extraction))
        for option in ("absolute_tolerance", "relative_tolerance"):
            given = getattr(self, option)
            if not (math.isfinite(given) and given >= 0):
                raise ValueError(f"numeric: {option} must be 0 or more and finite; given: {given}")

    @property
    def __name__(self) -> str:
        return "numeric"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """1.0 or 0.0 per completion.

        Raises:
            ValueError: a completion has no text, the column is missing or of another length, or a
                reference is no number.
        """
        values = column(columns, self.answer_column, rows=len(completions))
        references = [self._reference(value, row) for row, value in enumerate(values)]
        texts = [extract_answer(completion_text(item), self.extract) for item in completions]
        answers = [_number(text or "") for text in texts]
        log_share(columns, "numeric/unparsed", [answer is None for answer in answers])
        return [
            float(answer is not None and self._near(answer, reference))
            for answer, reference in zip(answers, references, strict=True)
        ]

    def _near(self, answer: Number, reference: Number) -> bool:
        absolute, relative = _written(self.absolute_tolerance), _written(self.relative_tolerance)
        return any(
            abs(a - b) <= max(absolute, relative * abs(b)) for a, b in readings(answer, reference)
        )

    def _reference(self, value: object, row: int) -> Number:
        number = _number(clean(str(value))) if isinstance(value, str | int | float) else None
        if number is None:
            raise ValueError(
                f"numeric: row {row} of column {self.answer_column!r} must hold a number; "
                f"given: {value!r:.200}"
            )
        return number


def _number(text: str) -> Number | None:
    return plain_number(text) if len(text) <= MAX_CHARACTERS else None


def _written(value: float) -> Fraction:
    return Fraction(repr(value))
