"""Numbers that need no computer algebra: integers, decimals, fractions, percentages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{{1,3}}(?![0-9]))?"
_PERCENT = r"\s?\\?%"
UNSIGNED = rf"(?:(?:[0-9]+\s)?{_INTEGER}\s?/\s?[0-9]+(?!\.?[0-9])|{_DECIMAL})(?:{_PERCENT})?"
"""A number without its sign, as it stands in a text that went through ``tidy``."""

# A word after the number is its unit. A constant or a conjunction is no unit.
_UNIT = r"(?:\s+(?!(?:pi|and|or)\b)[A-Za-z]{2,}[A-Za-z ]*)?"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s?(?:\\?\$|€|£)?\s?"
    rf"(?:(?:(?P<whole>[0-9]+)\s)?(?P<top>{_INTEGER})\s?/\s?(?P<bottom>[0-9]+)|(?P<decimal>{_DECIMAL}))"
    rf"(?P<percent>{_PERCENT})?{_UNIT}"
)
_FRACTION = re.compile(r"\\[dtc]?frac\{(-?[0-9]+)\}\{([0-9]+)\}")
_MIXED = re.compile(r"(?<=[0-9])\s?(?=\\[dtc]?frac\{[0-9])")
_SPACED_COMMA = re.compile(r"\{,\}|\\[,!](?=[0-9])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """An exact value and how it was written."""

    value: Fraction
    """The number itself; 50% has the value 50."""

    percent: bool
    """Whether a percent sign followed."""

    decimal: bool
    """Whether it was written as an integer or a decimal, not as a fraction."""


def tidy(text: str) -> str:
    r"""Numbers in plain characters: ``1{,}234`` is 1,234 and ``2\frac{1}{2}`` is 2 1/2."""
    text = text.replace("\N{MINUS SIGN}", "-")
    text = _SPACED_COMMA.sub(lambda match: "," if match[0] == "{,}" else "", text)
    return _FRACTION.sub(r"\1/\2", _MIXED.sub(" ", text))


def plain_number(text: str) -> Number | None:
    """The number that the whole text spells, a currency sign and a unit allowed, or None."""
    match = _NUMBER.fullmatch(tidy(text).strip())
    if match is None:
        return None
    if match["decimal"]:
        value = Fraction(match["decimal"].replace(",", ""))
    elif int(match["bottom"]) == 0:
        return None
    else:
        value = Fraction(int(match["top"].replace(",", "")), int(match["bottom"]))
        value += int(match["whole"] or 0)
    return Number(
        value=-value if match["sign"] == "-" else value,
        percent=match["percent"] is not None,
        decimal=match["decimal"] is not None,
    )


def same_number(left: Number, right: Number) -> bool:
    """Whether two numbers agree exactly or, a decimal against a fraction, to 6 decimal places.

    So 0.333333 is 1/3. A percent sign on one side only is read both as a unit and as hundredths:
    50% is 50 and 1/2. Both rules are math-verify's.
    """
    return any(
        a == b or (left.decimal != right.decimal and round(a, 6) == round(b, 6))
        for a, b in readings(left, right)
    )


def readings(left: Number, right: Number) -> Iterator[tuple[Fraction, Fraction]]:
    """The values to compare: a percent sign on one side only is read as a unit and as hundredths."""
    yield left.value, right.value
    if left.percent and not right.percent:
        yield left.value / 100, right.value
    if right.percent and not left.percent:
        yield left.value, right.value / 100
