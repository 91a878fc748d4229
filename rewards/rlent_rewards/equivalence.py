"""Whether two answers mean the same: exact for plain numbers, math-verify for the rest."""

import logging
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Literal

from rlent_rewards.guards import expression_refusal, text_refusal
from rlent_rewards.plain_number import plain_number, same_number

Verdict = Literal["correct", "wrong", "unparsed", "refused"]


def grade(answer: str | None, reference: str) -> Verdict:
    """Compare an extracted answer with a reference in which ``reference_problem`` found nothing.

    "unparsed" is no answer, or one that is not mathematics; "refused" is one that ``guards`` holds
    back.
    """
    if not answer:
        return "unparsed"
    if text_refusal(answer):
        return "refused"
    given, expected = plain_number(answer), plain_number(reference)
    if given and expected:
        return "correct" if same_number(given, expected) else "wrong"
    parsed = _parse(answer)
    if not parsed:
        return "unparsed"
    if expression_refusal(parsed[0]):
        return "refused"
    _, verify = _math_verify()
    # math-verify's timeout is an alarm signal, which only the main thread may set; 0 sets none.
    matches = verify(list(_parse(reference)), list(parsed), timeout_seconds=0)
    return "correct" if matches else "wrong"


def reference_problem(reference: str) -> str | None:
    """Why nothing can be compared with this reference, or None."""
    if problem := text_refusal(reference):
        return problem
    if plain_number(reference):
        return None
    parsed = _parse(reference)
    return expression_refusal(parsed[0]) if parsed else "neither a number nor LaTeX"


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Any, ...]:
    """The SymPy expression of a LaTeX text and its normalised spelling, or nothing."""
    from math_verify import LatexExtractionConfig

    parse, _ = _math_verify()
    # In a box the whole text is the answer; anywhere else math-verify may pick a number out of it.
    found = parse(f"\\boxed{{{text}}}", [LatexExtractionConfig()], parsing_timeout=0)
    return tuple(found) if found and not isinstance(found[0], str) else ()


@cache
def _math_verify() -> tuple[Callable[..., list[Any]], Callable[..., bool]]:
    """``parse`` and ``verify``, imported late because SymPy takes a second to load."""
    from math_verify import parse, verify

    for module in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(module).addFilter(_is_news)
    return parse, verify


def _is_news(record: logging.LogRecord) -> bool:
    """Drops the one notice that follows from switching the timeouts off, and nothing else."""
    return not record.getMessage().startswith("Timeout is disabled")
