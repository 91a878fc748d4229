r"""Limits on what is given to computer algebra, which has none of its own.

A model writes the answers, and ``10^{10^{10}}`` or ``(x+y+z)^{99}`` would keep a process busy for
ever. Two cheap looks refuse such answers: one at the text before it is parsed, one at the
expression that parsing builds without evaluating it. They bound the work of what models write by
accident; they are no sandbox.
"""

import math
import re
from itertools import accumulate
from typing import Any, NamedTuple

MAX_CHARACTERS = 200
"""Longest answer that is read at all."""

MAX_NESTING = 8
"""Deepest nesting of brackets; the LaTeX grammar takes exponential time in it."""

MAX_MARKS = 12
"""Most of each of ``^``, ``_`` and ``|``, for the same reason."""

MAX_DIGITS = 100_000
"""Most decimal digits of a number that an answer of numbers alone may evaluate to."""

MAX_COEFFICIENT_DIGITS = 50
"""The same beside variables, roots or functions, where SymPy factors and expands."""

MAX_MAGNITUDE = 1000
"""Most decimal digits before the point of any part's value, where it is not of rational numbers alone: evaluating
``e^{e^{e^{10}}}`` to a fixed precision would write all of its digits down."""

MAX_DEGREE = 100
"""Highest degree in variables, roots and functions together."""

MAX_DEGREE_OF_RELATION = 8
"""The same for equations and inequalities, which SymPy solves."""

MAX_VARIABLES = 12
"""Most variables; a sentence counts as the product of its letters."""

MAX_TERMS = 40
"""Most terms, numerator times denominator, that expanding any part of an answer may give."""

_DEPTH = dict.fromkeys("([{", 1) | dict.fromkeys(")]}", -1)

# Parsing or comparing these loops over their arguments. Small factorials and binomials are fine.
_LOOP = re.compile(r"\\(?:sum|prod|i*int|oint|lim|[dt]?binom|choose)(?![A-Za-z])|(?<!\\)!")
_SMALL_LOOP = re.compile(
    r"\\[dt]?binom\s?\{(?:[0-9]{1,3}\}\{[0-9]{1,3}|[a-z]\}\{[0-9])\}"
    r"|(?:(?<![0-9.])[0-9]{1,3}|(?<![A-Za-z])[a-z])!(?!!)"
)


def text_refusal(text: str) -> str | None:
    """Why a text must not be parsed, or None."""
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if max(accumulate((_DEPTH.get(character, 0) for character in text), initial=0)) > MAX_NESTING:
        return f"brackets nested deeper than {MAX_NESTING}"
    for mark in "^_|":
        if text.count(mark) > MAX_MARKS:
            return f"more than {MAX_MARKS} of {mark!r}"
    if loop := _LOOP.search(_SMALL_LOOP.sub("", text)):
        return f"{loop[0]!r} of unbounded size"
    return None


def expression_refusal(expression: Any) -> str | None:
    """Why a parsed SymPy expression must not be compared, or None."""
    import sympy

    size = _size(expression)
    max_digits = MAX_COEFFICIENT_DIGITS if size.degree else MAX_DIGITS
    max_degree = MAX_DEGREE_OF_RELATION if expression.has(sympy.Rel) else MAX_DEGREE
    if size.digits > max_digits:
        return f"a number of more than {max_digits} digits"
    if size.degree and max(map(_magnitude, sympy.preorder_traversal(expression))) > MAX_MAGNITUDE:
        return f"a value of more than {MAX_MAGNITUDE} digits"
    if size.degree > max_degree:
        return f"a degree above {max_degree}"
    if len(expression.free_symbols) > MAX_VARIABLES:
        return f"more than {MAX_VARIABLES} variables"
    if size.work > MAX_TERMS:
        return f"more than {MAX_TERMS} terms when expanded"
    return None


def _magnitude(expression: Any) -> float:
    """Upper bound of the decimal logarithm of the absolute value, with every variable between -1 and 1."""
    import sympy

    if isinstance(expression, sympy.Rational):
        return math.log10(max(abs(expression.p), expression.q))
    parts = _parts(expression)
    if not parts:
        return 1.0 if isinstance(expression, sympy.NumberSymbol) else 0.0
    if isinstance(expression, sympy.Pow | sympy.exp):
        base, exponent = expression.as_base_exp()
        return min(10 ** min(_magnitude(exponent), 9.0) * _magnitude(base), 1e9)
    if isinstance(expression, sympy.sin | sympy.cos):
        return 0.0
    return math.fsum(map(_magnitude, parts))


def _parts(expression: Any) -> Any:
    # A mutable matrix, which is what the parser makes, has no arguments.
    return expression.flat() if hasattr(expression, "flat") else expression.args


class _Size(NamedTuple):
    """Upper bounds for the expanded form of an expression."""

    terms: int = 1  # of the numerator
    below: int = 1  # of the denominator
    degree: int = 0  # in everything but rational numbers
    digits: float = 0.0  # of the largest rational number
    work: int = 1  # the largest terms x below of any part


def _size(expression: Any) -> _Size:
    import sympy

    if isinstance(expression, sympy.Rational):
        return _Size(digits=math.log10(max(abs(expression.p), expression.q)))
    if isinstance(expression, sympy.Pow | sympy.exp):
        base, exponent = expression.as_base_exp()
        parts = [_size(base), _size(exponent)]
        size = _power(parts[0], parts[1], exponent)
    else:
        parts = [_size(part) for part in _parts(expression)]
        size = _combined(expression, parts)
    if size.degree == 0:  # rational numbers alone make one number
        return size._replace(terms=1, below=1)
    return size._replace(work=max([size.terms * size.below, *(part.work for part in parts)]))


def _combined(expression: Any, parts: list[_Size]) -> _Size:
    import sympy

    if not parts:
        return _Size(degree=1)
    if isinstance(expression, sympy.Mul):
        return _product(parts)
    if isinstance(expression, sympy.Function):
        return _function(expression, parts)
    return _sum(parts)


def _sum(parts: list[_Size]) -> _Size:
    below = math.prod(part.below for part in parts)
    return _Size(
        terms=sum(part.terms * below // part.below for part in parts),
        below=below,
        degree=max(part.degree for part in parts),
        digits=math.fsum(part.digits for part in parts) + math.log10(len(parts)),
    )


def _product(parts: list[_Size]) -> _Size:
    return _Size(
        terms=math.prod(part.terms for part in parts),
        below=math.prod(part.below for part in parts),
        degree=sum(part.degree for part in parts),
        digits=math.fsum(part.digits for part in parts),
    )


def _power(base: _Size, exponent_size: _Size, exponent: Any) -> _Size:
    import sympy

    if isinstance(exponent, sympy.Rational):
        times, factor = -(-abs(exponent.p) // exponent.q), max(abs(exponent.p), exponent.q)
    else:
        # At most 10 to its digits: x^{n+99} counts as x^99, which is split off when expanding.
        times = factor = math.ceil(10 ** min(9, exponent_size.digits))
    above, below = _expanded(base.terms, times), _expanded(base.below, times)
    if exponent.is_negative:
        above, below = below, above
    digits = max(base.digits * factor, exponent_size.digits)
    return _Size(above, below, base.degree * factor, digits)


def _expanded(terms: int, times: int) -> int:
    """How many terms (a_1 + ... + a_terms)^times has: the multisets of size ``times``.

    Above ``MAX_TERMS`` a bound from below is enough, and spares large binomials.
    """
    if terms == 1:
        return 1
    terms, times = min(terms, MAX_TERMS + 1), min(times, MAX_TERMS + 1)
    return math.comb(terms + times - 1, times)


def _function(expression: Any, parts: list[_Size]) -> _Size:
    from sympy.functions.elementary.trigonometric import TrigonometricFunction, cos, sin

    inside = _sum(parts)
    if expression.func.__name__ == "factorial":
        largest = 10 ** min(9, inside.digits)
        return inside._replace(digits=math.lgamma(largest + 1) / math.log(10))
    size = _Size(degree=max(1, inside.degree), digits=inside.digits)
    if not isinstance(expression, TrigonometricFunction):
        return size
    # Addition formulas double the terms with every summand; tangents are quotients of such sums.
    terms = 2 ** min(inside.terms - 1, MAX_TERMS)
    return size._replace(terms=terms, below=1 if isinstance(expression, sin | cos) else terms)
