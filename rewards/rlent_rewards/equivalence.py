"""Whether two answers mean the same: exact for plain numbers, ``algebra`` in a worker for the rest."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from rlent_rewards.guards import MAX_CHARACTERS, text_refusal
from rlent_rewards.notation import readable
from rlent_rewards.plain_number import plain_number, same_number
from rlent_rewards.recent import Recent
from rlent_rewards.workers import Failure, Limits, Pool, run

Verdict = Literal["correct", "wrong", "unparsed", "refused", "timeout", "crash", "memory"]
"""What is said of an answer.

"unparsed" is no answer, or one that is not mathematics; "refused" is one that ``guards`` holds
back; with the last three, answer or reference took a worker more than its limits, or its life.
"""

_Question = tuple[str | None, str, bool]
"""An answer, or None where only the reference is in question, the reference, and ``strict``."""


class Judgement(NamedTuple):
    """A verdict on an answer, or what is wrong with the reference."""

    verdict: Verdict
    problem: str | None = None
    """Why nothing can be compared with the reference; the verdict means nothing then."""


_pool = Pool("rlent_rewards.algebra")
_known = Recent(size=65_536)
"""Judgements by question, without failures: the machine may have been busy."""


def judge(
    pairs: Sequence[tuple[str | None, str]], limits: Limits, *, strict: bool = True
) -> list[Judgement]:
    """Compare extracted answers, or None for a missing one, with their references.

    ``strict`` is that of ``MathAnswer``.

    Raises:
        RuntimeError: the workers do not start.
    """
    pairs = [(answer and _short(answer), _short(reference)) for answer, reference in pairs]
    verdicts: list[Verdict | None] = [
        _verdict_at_once(answer, reference) for answer, reference in pairs
    ]
    questions = [
        (answer, reference, strict) if verdict is None else (None, reference, True)
        for verdict, (answer, reference) in zip(verdicts, pairs, strict=True)
    ]
    found = _ask(questions, limits)
    return [
        Judgement(verdict) if verdict and found[question] == _NO_PROBLEM else found[question]
        for verdict, question in zip(verdicts, questions, strict=True)
    ]


def usable_references(texts: Iterable[str], limits: Limits) -> set[str]:
    """Those of the texts that something can be compared with."""
    questions: dict[str, _Question] = {text: (None, _short(text), True) for text in texts}
    found = _ask(questions.values(), limits)
    return {text for text, question in questions.items() if found[question] == _NO_PROBLEM}


_NO_PROBLEM = Judgement("unparsed")  # what is found where only the reference was in question


def _ask(questions: Iterable[_Question], limits: Limits) -> dict[_Question, Judgement]:
    found = {
        question: _judgement_at_once(*question[:2]) or _known.get(question)
        for question in dict.fromkeys(questions)
    }
    open_questions = [question for question, judgement in found.items() if judgement is None]
    calls = [("judge", question) for question in open_questions]
    for question, outcome in zip(open_questions, run(_pool, calls, limits), strict=True):
        if isinstance(outcome, Failure):
            found[question] = Judgement(outcome.cause)
        else:
            found[question] = Judgement(*outcome)
            _known.put(question, found[question])
    return found


def _short(text: str) -> str:
    """The text as it is compared; a text that is too long is refused, and stays as it is."""
    return text if len(text) > MAX_CHARACTERS else readable(text)


def _verdict_at_once(answer: str | None, reference: str) -> Verdict | None:
    """The verdict that takes no algebra, provided that the reference has no problem, or None."""
    if not answer:
        return "unparsed"
    if text_refusal(answer):
        return "refused"
    if answer == reference:
        return "correct"  # math-verify compares the texts, too
    numbers = plain_number(answer), plain_number(reference)
    if numbers[0] and numbers[1]:
        return "correct" if same_number(numbers[0], numbers[1]) else "wrong"
    return None


def _judgement_at_once(answer: str | None, reference: str) -> Judgement | None:
    """What takes no algebra to say of the reference."""
    if problem := text_refusal(reference):
        return Judgement("unparsed", problem)
    return _NO_PROBLEM if answer is None and plain_number(reference) else None
