from fractions import Fraction

import pytest

from rlent_rewards.plain_number import plain_number, same_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("-7", Fraction(-7)),
        ("+7", Fraction(7)),
        ("\N{MINUS SIGN}7", Fraction(-7)),
        ("007", Fraction(7)),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("1{,}234", Fraction(1234)),
        (r"32,\!348", Fraction(32348)),
        (".5", Fraction(1, 2)),
        ("1e-7", Fraction(1, 10**7)),
        ("2.5E3", Fraction(2500)),
        ("10 / 4", Fraction(5, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        ("$18", Fraction(18)),
        (r"-\$1,234.50", Fraction(-2469, 2)),
        ("18 dollars per day", Fraction(18)),
    ],
)
def test_a_number_has_its_exact_value(text: str, value: Fraction) -> None:
    number = plain_number(text)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1,23",
        "1,2345",
        "5 and 7",
        "2 pi",
        "5 or x",
        "2x",
        "1/0",
        "1e9999",
        "3.",
        "٣",
        "--1",
    ],
)
def test_what_is_no_plain_number_is_left_to_computer_algebra(text: str) -> None:
    assert plain_number(text) is None


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("0.5", "1/2", True),
        ("1.50", "3/2", True),
        ("0.333333", "1/3", True),
        ("0.3333", "1/3", False),
        ("0.3333333", "0.33333333", False),
        ("333333/1000000", "1/3", False),
        ("50%", "50", True),
        ("50%", "1/2", True),
        (r"50\%", "0.5", True),
        ("50%", "50 %", True),
        ("50%", "0.5%", False),
        ("1", "-1", False),
        ("1" * 190 + "2", "1" * 190 + "3", False),
    ],
)
def test_numbers_are_compared_exactly_or_to_six_places(left: str, right: str, same: bool) -> None:
    a, b = plain_number(left), plain_number(right)
    assert a is not None
    assert b is not None
    assert same_number(a, b) is same
    assert same_number(b, a) is same
