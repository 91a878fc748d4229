"""Whether two answers mean the same, by math-verify and SymPy. This runs in the workers."""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from rlent_rewards.guards import expression_refusal
from rlent_rewards.plain_number import plain_number

_EXAMPLES = [
    ("x+1", "1+x"),
    (r"\sin(x)^2", r"1-\cos(x)^2"),
    ("x<2", r"(-\infty,2)"),
    ("x=2", "2x=4"),
]


def judge(answer: str | None, reference: str, strict: bool = True) -> tuple[str, str | None]:
    """The verdict on an answer, and why nothing can be compared with the reference.

    ``text_refusal`` has found nothing in the two texts. None for an answer is "unparsed".
    ``strict`` is that of ``MathAnswer``.
    """
    if problem := _reference_problem(reference):
        return "unparsed", problem
    return "unparsed" if answer is None else _verdict(answer, reference, strict), None


def warm_up() -> None:
    """Make the parser fast, and load what it and SymPy load when they are first used."""
    from rlent_rewards.latex_parsing import parse_faster

    parse_faster()
    for answer, reference in _EXAMPLES:
        judge(answer, reference)


def _verdict(answer: str, reference: str, strict: bool) -> str:
    parsed = _parse(answer)
    if not parsed:
        return "unparsed"
    if expression_refusal(parsed[0]):
        return "refused"
    expected = _parse(reference)
    if expected and not strict:
        parsed = (_renamed(parsed[0], expected[0]), *parsed[1:])
    if expected and _far_apart(expected[0], parsed[0]):
        return "wrong"
    _, verify = _math_verify()
    # The time limit is the worker's.
    matches = verify(
        list(expected), list(parsed), allow_set_relation_comp=not strict, timeout_seconds=0
    )
    if not matches or (expected and _both_without_solution(expected[0], parsed[0])):
        return "wrong"
    return "correct"


@lru_cache(maxsize=1024)
def _reference_problem(reference: str) -> str | None:
    if plain_number(reference):
        return None
    parsed = _parse(reference)
    return expression_refusal(parsed[0]) if parsed else "neither a number nor LaTeX"


def _renamed(answer: Any, reference: Any) -> Any:
    """The answer with those variables that the reference lacks under names that the answer lacks.

    Both in alphabetical order; the answer itself if they are not equally many. math-verify's own
    ``strict=False`` takes them in the order of a Python set. It also renames a word, which its
    grammar reads as the product of its letters.
    """
    import sympy

    if all(isinstance(factor, sympy.Symbol) for factor in sympy.Mul.make_args(answer)):
        return answer
    mine, theirs = (
        sorted(one.free_symbols - other.free_symbols, key=str)
        for one, other in ((answer, reference), (reference, answer))
    )
    if len(mine) != len(theirs):
        return answer
    return answer.xreplace(dict(zip(mine, theirs, strict=True)))


def _both_without_solution(left: Any, right: Any) -> bool:
    """Whether these are different equations that math-verify takes for the same.

    It compares their solutions, and where neither has a real one it finds no difference.
    """
    import sympy

    if left == right or not all(isinstance(side, sympy.Eq) for side in (left, right)):
        return False
    if sympy.solve(left, left.free_symbols):
        return False
    sides: Any = [equation.lhs - equation.rhs for equation in (left, right)]
    ratio = sympy.simplify(sides[0] / sides[1])
    return not (ratio.is_number and ratio.is_finite and not ratio.is_zero)


def _far_apart(left: Any, right: Any) -> bool:
    """Whether two numbers, or formulas at one point, differ by more than math-verify lets pass.

    Its rules for them are equality, at worst to 6 decimal places. Looking at the values first
    spares SymPy's ``simplify``, by which math-verify finds that two expressions differ and which
    takes 10 ms or more.
    """
    import sympy

    if not (_is_arithmetic(left) and _is_arithmetic(right)):
        return False
    point = _point(left.free_symbols | right.free_symbols)
    values = left.evalf(15, subs=point), right.evalf(15, subs=point)
    if not all(isinstance(value, sympy.Number) for value in values):
        return False
    a, b = map(float, values)
    # A value that is infinite as a float fails this comparison, and math-verify decides.
    return abs(a - b) > 1e-4 * (1 + abs(a) + abs(b))


def _is_arithmetic(expression: Any) -> bool:
    """Whether it holds variables, rational numbers, pi, e, sums, products and rational powers only.

    Their values take no time; those of functions and of towers of powers may take for ever. A
    percent sign, which math-verify reads in two ways, makes none of these. A variable alone is
    left out, because math-verify compares its name with a text.
    """
    import sympy

    atoms = (sympy.Rational, sympy.Float, sympy.NumberSymbol, sympy.Symbol)
    return not isinstance(expression, sympy.Symbol) and all(
        isinstance(part, (*atoms, sympy.Add, sympy.Mul))
        or (isinstance(part, sympy.Pow) and isinstance(part.exp, sympy.Rational))
        for part in sympy.preorder_traversal(expression)
    )


def _point(variables: set[Any]) -> dict[Any, float]:
    """A positive value for each name."""
    names = sorted({variable.name for variable in variables})
    return {variable: 1.25 + 0.37 * names.index(variable.name) for variable in variables}


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

    return parse, verify
