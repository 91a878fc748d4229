"""Reward for the right final answer to a mathematical question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rlent_rewards.choices import check_choice
from rlent_rewards.equivalence import Verdict, judge
from rlent_rewards.extraction import Extraction, check_custom, clean, extract_answer
from rlent_rewards.protocol import Completion, column, completion_text, log_share
from rlent_rewards.workers import Limits

_LOGGED: dict[Verdict, str] = {
    "unparsed": "unparsed",
    "refused": "refused",
    "timeout": "timeouts",
    "crash": "crashes",
    "memory": "out_of_memory",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MathAnswer:
    r"""1.0 where the final answer of a completion equals the reference, else 0.0.

    Answers are compared by value: 1,234 is 1234, 0.5 is ``\frac{1}{2}``, 50% is 1/2 and also 50; a
    unit after a number is ignored. Everything but numbers is compared by math-verify, in worker
    processes that are started when they are first needed and shared by all rewards of a process.

    An answer that is missing or is not mathematics scores 0.0, as does one that ``guards`` refuses
    because evaluating it could take for ever, one that takes a worker more than ``timeout`` or
    ``memory_mb`` or makes it crash, and one that ``pattern`` does not find in time. Their shares
    are logged where the trainer passes ``log_metric``, as ``rewards/math_answer/`` and
    ``unparsed``, ``refused``, ``timeouts``, ``out_of_memory`` and ``crashes``. Running out of
    memory in the midst of math-verify, which swallows that error, counts as a wrong answer.

    Raises:
        ValueError: an option is unknown or not positive, the pattern does not compile or stands
            beside ``extract``, the column is missing, or a reference is no answer itself.
    """

    answer_column: str = "answer"
    """The dataset column of reference answers: numbers, or text with a number or LaTeX."""

    extract: Extraction = "auto"
    r"""Where the answer stands: "boxed" (last ``\boxed{...}``), "answer_tag" (last
    ``<answer>...</answer>``), "marker" (after the last "Answer:", "answer is" or "####"),
    "last_number", or "auto": the first of these that is there."""

    pattern: str | None = None
    """A regular expression in the place of ``extract``, in the syntax of the package ``regex``: the
    answer is the first group of its last match, or the whole match where it has no group. It may
    take 0.5 seconds over a completion."""

    strict: bool = True
    """Whether the names of variables count, as math-verify's do by default. False also takes
    ``t+1`` for ``x+1``, each variable that the other side lacks renamed in alphabetical order, and
    ``1<x<2`` for the reference ``(1,2)``. A product of variables alone, which may be a word, keeps
    its letters."""

    timeout: float = 5.0
    """Seconds that one answer may take; ordinary ones take milliseconds."""

    memory_mb: int = 512
    """MiB by which a worker may grow over one answer."""

    workers: int | None = None
    """Worker processes to use; null is one per core that this process may use, at most 4."""

    def __post_init__(self) -> None:
        check_choice("math_answer: extract", self.extract, get_args(Extraction))
        check_custom("math_answer", self.extract, self.pattern)
        try:
            self._limits()
        except ValueError as error:
            raise ValueError(f"math_answer: {error}") from None

    def _limits(self) -> Limits:
        return Limits(timeout=self.timeout, memory_mb=self.memory_mb, workers=self.workers)

    @property
    def __name__(self) -> str:
        return "math_answer"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """1.0 or 0.0 per completion.

        Raises:
            ValueError: a completion has no text, the column is missing or of another length, or a
                reference is unusable.
            RuntimeError: the workers do not start.
        """
        values = column(columns, self.answer_column, rows=len(completions))
        answers, late = self._answers([completion_text(item) for item in completions])
        pairs = list(zip(answers, map(_reference, values), strict=True))
        judgements = judge(pairs, self._limits(), strict=self.strict)
        for row, judgement in enumerate(judgements):
            if judgement.problem:
                raise ValueError(
                    f"math_answer: row {row} of column {self.answer_column!r} must hold a number "
                    f"or a LaTeX expression; given: {values[row]!r:.200} ({judgement.problem})"
                )
        verdicts = [
            "timeout" if row in late else judgement.verdict
            for row, judgement in enumerate(judgements)
        ]
        for verdict, name in _LOGGED.items():
            log_share(columns, f"math_answer/{name}", [each == verdict for each in verdicts])
        return [float(verdict == "correct") for verdict in verdicts]

    def _answers(self, texts: Sequence[str]) -> tuple[list[str | None], set[int]]:
        """The answer in each text, and the rows over which the pattern took too long."""
        answers, late = [], set()
        for row, text in enumerate(texts):
            try:
                answers.append(extract_answer(text, self.extract, self.pattern))
            except TimeoutError:
                answers.append(None)
                late.add(row)
        return answers, late


def _reference(value: object) -> str:
    return clean(str(value)) if isinstance(value, str | int | float) else ""
