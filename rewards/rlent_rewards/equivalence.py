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
    numbers = plain_number(answer), plain_number(reference)
    if numbers[0] and numbers[1]:
        return "correct" if same_number(numbers[0], numbers[1]) else "wrong"
    parsed = _parse(answer)
    if not parsed:
        return "unparsed"
    if expression_refusal(parsed[0]):
        return "refused"
    expected = _parse(reference)
    if expected and _far_apart(expected[0], parsed[0]):
        return "wrong"
    _, verify = _math_verify()
    # math-verify's timeout is an alarm signal, which only the main thread may set; 0 sets none.
    matches = verify(list(expected), list(parsed), timeout_seconds=0)
    return "correct" if matches else "wrong"


def reference_problem(reference: str) -> str | None:
    """Why nothing can be compared with this reference, or None."""
    if problem := text_refusal(reference):
        return problem
    if plain_number(reference):
        return None
    parsed = _parse(reference)
    return expression_refusal(parsed[0]) if parsed else "neither a number nor LaTeX"


def _far_apart(left: Any, right: Any) -> bool:
    """Whether both are numbers that none of math-verify's rules makes equal.

    Those rules are equality, at worst to 6 decimal places. Looking at the values first spares
    SymPy's ``simplify``, by which math-verify finds that two numbers differ and which takes 10 ms
    or more.
    """
    import sympy

    if not (_is_arithmetic(left) and _is_arithmetic(right)):
        return False
    values = left.evalf(15), right.evalf(15)
    if not all(isinstance(value, sympy.Number) for value in values):
        return False
    a, b = map(float, values)
    # A value that is infinite as a float fails this comparison, and math-verify decides.
    return abs(a - b) > 1e-4 * (1 + abs(a) + abs(b))


def _is_arithmetic(expression: Any) -> bool:
    """Whether it holds rational numbers, pi, e, sums, products and rational powers only.

    Their values take no time; those of functions and of towers of powers may take for ever. A
    percent sign, which math-verify reads in two ways, makes none of these.
    """
    import sympy

    return all(
        isinstance(part, sympy.Rational | sympy.Float | sympy.NumberSymbol | sympy.Add | sympy.Mul)
        or (isinstance(part, sympy.Pow) and isinstance(part.exp, sympy.Rational))
        for part in sympy.preorder_traversal(expression)
    )


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
