"""What answering problems by their difficulty has cost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rlent.evaluation.answers import Answer
from rlent.evaluation.difficulty import DIFFICULTY_SETTINGS, Difficulty
from rlent.evaluation.problems import Kind, ProblemSet


@dataclass(frozen=True, kw_only=True, slots=True)
class SpentTokens:
    """Of all completions of one kind."""

    spent: int
    """Tokens written."""
    of_plain_limit: float
    """Share of the tokens that the set's own limit allows: ``spent / (completions * length)``."""
    allowed: float
    """Share of them that the labels' limits allow: ``sum of limits / (completions * length)``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultyCosts:
    """Of one set."""

    problems: dict[Difficulty, int]
    """Number of problems with each label."""
    tokens: dict[Kind, SpentTokens]


def difficulty_costs(problems: ProblemSet, answers: Sequence[Answer]) -> DifficultyCosts | None:
    """Those of all answers to a set; None where it has no probe."""
    if problems.difficulty is None:
        return None
    greedy = [each for each in answers if each.sample is None]
    drawn = [each for each in answers if each.sample is not None]
    labels = Counter(each.difficulty for each in greedy)
    tokens: dict[Kind, SpentTokens] = {"greedy": _spent(greedy, problems.length)}
    if drawn:
        tokens["sampled"] = _spent(drawn, problems.length)
    return DifficultyCosts(
        problems={label: labels[label] for label in DIFFICULTY_SETTINGS}, tokens=tokens
    )


def _spent(answers: Sequence[Answer], length: int) -> SpentTokens:
    plain = len(answers) * length
    spent = sum(each.length for each in answers)
    limits = sum(length if each.limit is None else each.limit for each in answers)
    return SpentTokens(spent=spent, of_plain_limit=spent / plain, allowed=limits / plain)
