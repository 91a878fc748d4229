"""Reward for the right final answer to a mathematical question."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rlent_rewards.choices import check_choice
from rlent_rewards.equivalence import grade, reference_problem
from rlent_rewards.extraction import Extraction, clean, extract_answer
from rlent_rewards.protocol import Completion, column, completion_text


@dataclass(frozen=True, kw_only=True, slots=True)
class MathAnswer:
    r"""1.0 where the final answer of a completion equals the reference, else 0.0.

    Answers are compared by value: 1,234 is 1234, 0.5 is ``\frac{1}{2}``, 50% is 1/2 and also 50; a
    unit after a number is ignored. Everything but numbers is compared by math-verify.

    An answer that is missing or is not mathematics scores 0.0, as does one that ``guards`` refuses
    because evaluating it could take for ever. Their shares are logged as ``rewards/math_answer/unparsed``
    and ``rewards/math_answer/refused`` where the trainer passes ``log_metric``.

    Raises:
        ValueError: an option is unknown, the column is missing, or a reference is no answer itself.
    """

    answer_column: str = "answer"
    """The dataset column of reference answers: numbers, or text with a number or LaTeX."""

    extract: Extraction = "auto"
    r"""Where the answer stands: "boxed" (last ``\boxed{...}``), "answer_tag" (last
    ``<answer>...</answer>``), "marker" (after the last "Answer:", "answer is" or "####"),
    "last_number", or "auto": the first of these that is there."""

    def __post_init__(self) -> None:
        check_choice("math_answer: extract", self.extract, get_args(Extraction))

    @property
    def __name__(self) -> str:
        return "math_answer"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """1.0 or 0.0 per completion.

        Raises:
            ValueError: a completion has no text, the column is missing or of another length, or a
                reference is unusable.
        """
        values = column(columns, self.answer_column, rows=len(completions))
        references = [self._reference(value, row) for row, value in enumerate(values)]
        answers = [extract_answer(completion_text(item), self.extract) for item in completions]
        verdicts = [grade(*pair) for pair in zip(answers, references, strict=True)]
        if log_metric := columns.get("log_metric"):
            _log_shares(verdicts, log_metric)
        return [float(verdict == "correct") for verdict in verdicts]

    def _reference(self, value: object, row: int) -> str:
        reference = clean(str(value)) if isinstance(value, str | int | float) else ""
        if problem := reference_problem(reference):
            raise ValueError(
                f"math_answer: row {row} of column {self.answer_column!r} must hold a number or a "
                f"LaTeX expression; given: {value!r:.200} ({problem})"
            )
        return reference


def _log_shares(verdicts: Sequence[str], log_metric: Callable[[str, float], None]) -> None:
    counts = Counter(verdicts)
    for verdict in ("unparsed", "refused"):
        if verdicts:
            log_metric(f"rewards/math_answer/{verdict}", counts[verdict] / len(verdicts))
